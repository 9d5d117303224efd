"""The export stage: a model -> the folder that leaves, complete, described, checksummed and loaded back."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig

from llmrecipe.plan import Export, HubModel, InputModel
from llmrecipe.stages import checkpoints, loading
from llmrecipe.stages.lineage import direct_base, lineage
from llmrecipe.stages.model_card import card
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.stopping import stop_tokens

CHECKSUMS = "SHA256SUMS"
_TEXTS = (
    "The quick brown fox jumps over 13 lazy dogs.",
    " naïve café — 東京 🙂\n\ttabs",
    "def f(x):\n    return x ** 2\n",
)


def run(spec: Export, place: Place) -> dict[str, float]:
    """Write `model/`: weights or adapter, tokenizer, template, generation configuration, card and SHA256SUMS.

    Returns:
        `parameters` (of the adapter when that is exported alone), `bytes`, `files`.

    Raises:
        StageError: the model cannot be read, or does not come back as it was when it is loaded from what was written.
    """
    folder = place.output / "model"
    adapter = isinstance(spec.model, InputModel) and loading.is_adapter(place.inputs["model"])
    with checkpoints.writing("the exported model", folder):
        parameters = _write_adapter(spec, place, folder) if adapter else _write_model(spec, place, folder)
        (folder / "README.md").write_text(card(spec, place, parameters, adapter), encoding="utf-8")
        files = _write_checksums(folder)
    return {
        "parameters": float(parameters),
        "bytes": float(sum(path.stat().st_size for path in files)),
        "files": float(len(files)),
    }


def _write_model(spec: Export, place: Place, folder: Path) -> int:
    """Weights, configuration, generation configuration and tokenizer. Returns the number of parameters."""
    written = spec.formats[0]
    wanted = loading.Wanted(written.dtype or "auto", "sdpa", spec.trust_remote_code, spec.head)
    model = loading.pretrained(spec.model, place, wanted).eval()
    tokenizer = loading.tokenizer_of(spec.model, place, spec.trust_remote_code)
    if spec.head == "causal":
        model.generation_config = _generation_config(tokenizer, model)
    model.save_pretrained(folder, max_shard_size=written.max_shard_size)
    tokenizer.save_pretrained(folder)
    parameters: int = sum(p.numel() for p in model.parameters())
    expected = loading.probe(model)
    del model  # Only one copy of the weights at a time.
    _check_model(folder, expected, spec)
    _check_tokenizer(folder, tokenizer, spec.trust_remote_code)
    return parameters


def _generation_config(tokenizer: Any, model: Any) -> GenerationConfig:
    """The model's own, with every token that ends an answer."""
    config = model.generation_config
    ends = stop_tokens(tokenizer, model)
    config.eos_token_id = ends or None
    pad = next((i for i in (tokenizer.pad_token_id, config.pad_token_id, *ends) if i is not None), None)
    config.pad_token_id = pad
    config.bos_token_id = tokenizer.bos_token_id
    return config


def _check_model(folder: Path, expected: torch.Tensor, spec: Export) -> None:
    """See that plain Transformers loads what was written, and gets the very same logits."""
    stored = (
        loading.AUTO_CLASSES[spec.head]
        .from_pretrained(folder, dtype="auto", attn_implementation="sdpa", trust_remote_code=spec.trust_remote_code)
        .eval()
    )
    if not torch.equal(loading.probe(stored), expected):
        raise StageError(
            "the exported model gives other logits than the model in memory", "this should not happen: please report it"
        )


def _check_tokenizer(folder: Path, tokenizer: Any, trust_remote_code: bool) -> None:
    stored = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    same = all(stored(text)["input_ids"] == tokenizer(text)["input_ids"] for text in _TEXTS)
    if not same or stored.chat_template != tokenizer.chat_template or len(stored) != len(tokenizer):
        raise StageError(
            "the exported tokenizer does not encode as the one that was trained with",
            "this should not happen: please report it",
        )


def _write_adapter(spec: Export, place: Place, folder: Path) -> int:
    """The adapter with its tokenizer, naming its base by an id and never by a folder of this machine."""
    source = place.inputs["model"]
    folder.mkdir()
    weights = (source / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    config = json.loads((source / "adapter_config.json").read_bytes())
    config["base_model_name_or_path"], config["revision"] = _base(spec, direct_base(lineage(place)))
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer = loading.tokenizer_at(source)
    tokenizer.save_pretrained(folder)
    _check_tokenizer(folder, tokenizer, trust_remote_code=False)
    return _adapter_parameters(folder / "adapter_model.safetensors")


def _base(spec: Export, base: HubModel | None) -> tuple[str | None, str | None]:
    """What an adapter calls its base, and the commit of it."""
    if base is not None:
        return base.repo, base.revision
    # A recipe of this file, or a folder: its own name says as much as may be said elsewhere.
    return (None if spec.base is None else Path(spec.base).name), None


def _adapter_parameters(weights: Path) -> int:
    """Count from the header of the file: 8 bytes of length, then JSON."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    return sum(int(torch.Size(shape).numel()) for shape in shapes)


def _write_checksums(folder: Path) -> list[Path]:
    """Write what `sha256sum -c SHA256SUMS` reads. Returns the files it is over."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
    return files
