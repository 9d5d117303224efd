"""What vLLM knows by name, read from its source without importing it: a wheel of it -> llmrecipe/facts/.

`python scripts/generate_vllm_facts.py vllm-0.33.0-*.whl` (from `pip download --no-deps vllm==0.33.0`) writes the names
of quantization, cache types, loaders, parsers and metrics; `--check` says what is stale. Flags, types and defaults of
its options are those of its argument parser, which needs vLLM installed.
"""

import argparse
import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

FACTS = Path(__file__).parent.parent / "llmrecipe" / "facts"
CHOICES = {
    "quantization": ("vllm/model_executor/layers/quantization/__init__.py", "QuantizationMethods"),
    "kv_cache_dtype": ("vllm/config/cache.py", "CacheDType"),
    "load_format": ("vllm/model_executor/model_loader/__init__.py", "_LOAD_FORMAT_TO_MODEL_LOADER"),
}
"""Option -> the module and the table in it that lists what the option takes."""
PARSERS = {"tool_parsers": "vllm/tool_parsers/__init__.py", "reasoning_parsers": "vllm/reasoning/__init__.py"}
METRICS = ("vllm/v1/metrics/loggers.py", "vllm/v1/metrics/perf.py", "vllm/v1/spec_decode/metrics.py")
KINDS = ("counter", "gauge", "histogram")
WHEN = {
    "vllm:corrupted_requests": "a server that counts broken logits (VLLM_COMPUTE_NANS_IN_LOGITS)",
    "vllm:estimated_": "enable_mfu_metrics",
    "vllm:kv_block_": "kv_cache_metrics",
    "vllm:lora_requests_info": "enable_lora",
    "vllm:num_requests_kv_fetch_": "kv_transfer_config",
    "vllm:spec_decode_": "speculative_config",
}
"""How the names of metrics begin that are not always there -> what brings them."""
LEFT_OUT = ("vllm:diffusion_", "vllm:watermark_")
"""Metrics of what no recipe serves."""

Sources = Mapping[str, str]


def read(wheel: Path) -> Sources:
    """The modules that are needed, by their path in the wheel."""
    wanted = {path for path, _ in CHOICES.values()} | {*PARSERS.values(), *METRICS}
    with zipfile.ZipFile(wheel) as file:
        return {path: file.read(path).decode("utf-8") for path in sorted(wanted)}


def names(source: str, table: str) -> list[str]:
    """The texts of a `Literal` or the keys of a dictionary that a module assigns to a name."""
    for node in ast.walk(ast.parse(source)):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id == table:
            if isinstance(node.value, ast.Dict):
                return sorted(_texts(node.value.keys))
            assert isinstance(node.value, ast.Subscript)
            assert isinstance(node.value.slice, ast.Tuple)
            return list(_texts(node.value.slice.elts))
    raise LookupError(f"there is no {table}")


def registered(source: str) -> list[str]:
    """The keys of the longest dictionary of a module: its table of parsers."""
    tables = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)]
    return sorted(_texts(max(tables, key=lambda table: len(table.keys)).keys))


def _texts(nodes: "list[ast.expr | None] | list[ast.expr]") -> Iterator[str]:
    return (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def metrics(sources: Sources) -> dict[str, dict[str, str]]:
    """Family of metrics, as a server writes it -> its type, and what brings it where it is not always there."""
    found = {"vllm:cache_config_info": "gauge"}  # Its name is put together from parts.
    for path in METRICS:
        for node in ast.walk(ast.parse(sources[path])):
            found |= dict(_defined(node))
    kept = {name: kind for name, kind in found.items() if not name.startswith(LEFT_OUT)}
    return {name: {"type": kind} | _when(name) for name, kind in sorted(kept.items())}


def _when(name: str) -> dict[str, str]:
    when = next((when for begin, when in WHEN.items() if name.startswith(begin)), None)
    return {} if when is None else {"when": when}


def _defined(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The metrics that a call, or a table of names and descriptions of counters, defines."""
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        first = next(_texts(node.elts[:1]), "")
        if re.fullmatch(r"vllm:[a-z0-9_]+", first):
            yield _served(first, "counter"), "counter"
    if isinstance(node, ast.Call):
        kind = next((kind for kind in KINDS if kind in ast.unparse(node.func).lower()), None)
        named = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        for name in _texts(named):
            if kind is not None and name.startswith("vllm:"):
                yield _served(name, kind), kind


def _served(name: str, kind: str) -> str:
    """Prometheus ends the name of a counter with `_total`."""
    return f"{name}_total" if kind == "counter" and not name.endswith("_total") else name


def options_text(text: str, sources: Sources) -> str:
    """vllm.json with what the source says; an option stays one line."""
    for name, (path, table) in CHOICES.items():
        found = re.search(rf'^    "{name}": (\{{.*\}})(,?)$', text, re.MULTILINE)
        assert found is not None
        entry = json.loads(found[1]) | {"choices": names(sources[path], table)}
        text = text.replace(found[0], f'    "{name}": {json.dumps(entry)}{found[2]}')
    for name, path in PARSERS.items():
        line = f'  "{name}": {json.dumps(registered(sources[path]))},'
        text = re.sub(rf'^  "{name}": .*$', lambda _, line=line: line, text, flags=re.MULTILINE)  # type: ignore[misc]
    return text


def metrics_text(text: str, sources: Sources) -> str:
    """vllm_metrics.json with what the source says; a metric is one line."""
    head = text[: text.index('  "metrics": {')]
    rows = ",\n".join(f'    "{name}": {json.dumps(entry)}' for name, entry in metrics(sources).items())
    return f'{head}  "metrics": {{\n{rows}\n  }}\n}}\n'


def main() -> int:
    """Write both tables, or with `--check` say which is stale and exit with 1."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("wheel", type=Path)
    arguments.add_argument("--check", action="store_true", help="write nothing; fail when something is stale")
    given = arguments.parse_args()
    sources, stale = read(given.wheel), 0
    for file, made in ((FACTS / "vllm.json", options_text), (FACTS / "vllm_metrics.json", metrics_text)):
        text = file.read_text("utf-8")
        if (new := made(text, sources)) != text:
            stale = 1
            print(f"{file.name} is stale" if given.check else f"wrote {file.name}")
            if not given.check:
                file.write_text(new, "utf-8")
    return stale if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
