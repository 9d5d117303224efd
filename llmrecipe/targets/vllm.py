"""The server of each exported model: its configuration file, every option checked, and the command that starts it."""

import json
import shlex

from pydantic import JsonValue

from llmrecipe import facts
from llmrecipe.facts import VLLMOption
from llmrecipe.plan import Plan, Service
from llmrecipe.targets.base import Files, TargetError, served
from llmrecipe.targets.capacity import DRAIN_SECONDS
from llmrecipe.targets.local import model_folder, served_folder
from llmrecipe.targets.yaml_text import yaml_text

_SCRIPT = """\
#!/usr/bin/env bash
# Serves `{name}` with vLLM {version}: an OpenAI-compatible server at http://127.0.0.1:{port}/v1.
# The model, its chat template and its generation configuration come from the exported folder.
# LLMRECIPE_ROOT is the recipe's folder; further options of `vllm serve` may follow on the command line.
set -euo pipefail

here=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
default_root={root}
root=${{LLMRECIPE_ROOT:-$here/$default_root}}
model=$root/{model}
if [[ ! -d $model ]]; then
  echo "$0: $model is not there yet: run the recipe first" >&2
  exit 1
fi
{key}exec vllm serve "$model" --config "$here/{name}.yaml"{adapters} "$@"
"""

_KEY = """\
: "${{{variable}:?the key that clients must send}}"
export VLLM_API_KEY=${variable}
"""


def render(plan: Plan, root: str = ".") -> Files:
    """`vllm/SERVICE.yaml` and `vllm/SERVICE.sh`.

    Raises:
        TargetError: nothing is served by vLLM, or an option is not one of `vllm serve`.
    """
    files = {}
    for service in served(plan, "vllm"):
        files[f"vllm/{service.name}.yaml"] = config_text(service, "127.0.0.1")
        files[f"vllm/{service.name}.sh"] = _SCRIPT.format(
            name=service.name,
            version=facts.vllm_version(),
            port=service.port,
            root=shlex.quote(root if root.startswith("/") else f"../{root}"),
            model=served_folder(plan, service),
            key=_KEY.format(variable=key_variable(service)) if service.api_key else "",
            adapters=_adapters(plan, service),
        )
    return files


def _adapters(plan: Plan, service: Service) -> str:
    """Further words of the command: each adapter and its folder."""
    found = [f'{name}="$root/{model_folder(plan, reference)}"' for name, reference in service.adapters.items()]
    return "".join(f" \\\n  {word}" for word in ("--lora-modules", *found)) if found else ""


def config_text(service: Service, host: str) -> str:
    """The file for `vllm serve --config`."""
    comment = f"Options of `vllm serve` {facts.vllm_version()} for `{service.name}`."
    return yaml_text([config(service, host)], comment)


def config(service: Service, host: str) -> dict[str, JsonValue]:
    """Options as the configuration file of vLLM wants them. What the recipe says goes before what we say.

    Raises:
        TargetError: an option is not one of `vllm serve`, or cannot have that value.
    """
    ours: dict[str, JsonValue] = {
        "host": host,
        "port": service.port,
        "served_model_name": service.served_model_name,
        "shutdown_timeout": DRAIN_SECONDS,
    }
    found: dict[str, JsonValue] = {}
    for name, value in (ours | service.arguments).items():
        key, written = _entry(service, name, value)
        found[key] = written
    return found


def drain_seconds(service: Service) -> int:
    """How long the server lets answers that have begun end when it is asked to stop."""
    seconds = service.arguments.get("shutdown_timeout", DRAIN_SECONDS)
    assert isinstance(seconds, int)
    return seconds


def key_variable(service: Service) -> str:
    """The environment variable that holds the key of the clients: NAME of `${env:NAME}`."""
    assert service.api_key is not None
    return service.api_key.removeprefix("${env:").removesuffix("}")


def _entry(service: Service, name: str, value: JsonValue) -> tuple[str, JsonValue]:
    """Key and value of one option.

    vLLM drops `false` from a configuration file where a flag's negative is not `--no-FLAG`, and spreads lists over
    several words; so a negative is written as its own flag, and a list that one flag takes whole as its JSON.
    """
    option = facts.vllm_options().get(name)
    at = ("serving", "extra", name) if name not in _OWN_FIELDS else ("serving", name)
    if option is None:
        message = f"`{name}` is not an option of `vllm serve` {facts.vllm_version()}"
        raise TargetError(message, "remove it, or look for its new name in `vllm serve --help=all`", service.recipe, at)
    if not option.accepts(value) or value == []:
        message = f"`{name}` of `vllm serve` cannot be {json.dumps(value)}"
        raise TargetError(message, _wanted(option), service.recipe, at)
    flag = option.flag.removeprefix("--")
    if value is False:
        if option.negative is None:
            raise TargetError(f"`{name}` cannot be switched off", "leave it out", service.recipe, at)
        return option.negative.removeprefix("--"), True
    if option.kind == "json" and isinstance(value, list):
        return flag, json.dumps(value)
    return flag, value


_OWN_FIELDS = (
    "dtype",
    "enable_prefix_caching",
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "port",
    "served_model_name",
    "tensor_parallel_size",
)
"""Options that are fields of `serving`; others stand under `extra`."""


def _wanted(option: VLLMOption) -> str:
    if option.choices:
        return "use one of " + ", ".join(option.choices)
    return {
        "bool": "use true or false",
        "int": "use a whole number",
        "float": "use a number",
        "str": "use a text",
        "json": "use a mapping",
        "list": "use a list with at least one member",
    }[option.kind]
