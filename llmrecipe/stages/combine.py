"""The combine stage: several models of one shape -> one, a tensor at a time, in float32."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from safetensors.torch import save_file

from llmrecipe.plan import Combine, Combined, HubModel, InputModel, NewModel
from llmrecipe.stages import adapters, checkpoints, combining, loading, quantized
from llmrecipe.stages.loading import AUTO_CLASSES, Wanted
from llmrecipe.stages.place import Place, StageError

SHARD_BYTES = 5_000_000_000
INDEX = "model.safetensors.index.json"
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")


class Weights:
    """The tensors of a model folder, read when they are asked for."""

    def __init__(self, folder: Path, name: str, dtype: torch.dtype | None = None) -> None:
        self.folder, self.name = folder, name
        self.dtype = dtype
        """Type in which they are to be written, when it is not the one in which they are read."""
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise StageError(f"{name} has no weights in safetensors files", "save it with `save_pretrained` first")
        opened: list[Any] = [safe_open(file, framework="pt") for file in files]
        self._at: dict[str, Any] = {key: file for file in opened for key in file.keys()}  # noqa: SIM118  no dictionary

    @property
    def keys(self) -> list[str]:
        """Names of the tensors."""
        return sorted(self._at)

    def shape(self, key: str) -> list[int]:
        """The shape of a tensor, from the header of its file."""
        shape: list[int] = self._at[key].get_slice(key).get_shape()
        return shape

    def __getitem__(self, key: str) -> torch.Tensor:
        tensor: torch.Tensor = self._at[key].get_tensor(key)
        return tensor


def run(spec: Combine, place: Place) -> dict[str, float]:
    """Merge models.

    Returns:
        `parameters` of the merged model, `models` that it is made of, and `changed`: the root of the mean square of the
        difference to the base (or the first model), relative to that of its weights.

    Raises:
        StageError: a model cannot be read, or they have other shapes or tokenizers.
    """
    parts = [*([spec.base] if spec.base else []), *spec.models]
    weights = [_weights(spec, part, place, i) for i, part in enumerate(parts)]
    _check_alike(weights)
    _check_tokenizers(spec, parts, place)
    folder = place.output / "model"
    folder.mkdir()
    with checkpoints.writing("the merged model", folder):
        changed, parameters = _write(spec, weights, folder, place)
        _copy_configuration(weights[0], folder)
        _tokenizer(spec, parts[0], place).save_pretrained(folder)
    _check_stored(spec, folder)
    return {"parameters": float(parameters), "models": float(len(spec.models)), "changed": changed}


# -- what is merged --


def _weights(spec: Combine, part: Combined, place: Place, number: int) -> Weights:
    """The weights of one model; those of an adapter on its base are summed up in the work folder first."""
    assert not isinstance(part.model, NewModel)
    name = _named(part, place)
    if part.adapter is not None:
        folder = place.work / f"model-{number}"
        if not folder.is_dir():
            _sum_up(spec, part, place, folder)
        return Weights(folder, name, loading.stored_dtype(part.model, place, spec.trust_remote_code))
    loading.allow(spec.trust_remote_code, part.model, place)
    if isinstance(part.model, HubModel):
        with loading.readable(part.model.repo, part.model):
            path = snapshot_download(part.model.repo, revision=part.model.revision, allow_patterns=list(_FILES))
        return Weights(Path(path), name)
    return Weights(Path(loading.locate(part.model, place)[0]), name)


def _sum_up(spec: Combine, part: Combined, place: Place, folder: Path) -> None:
    assert part.adapter is not None
    wanted = Wanted("float32", trust_remote_code=spec.trust_remote_code, head=spec.head, new_head=True)
    base = loading.pretrained(part.model, place, wanted)
    quantized.refuse(base, "the base")
    whole = adapters.with_adapter(base, place.inputs[part.adapter]).merge_and_unload(safe_merge=True)
    beside = folder.with_name(f"{folder.name}.partial")
    whole.save_pretrained(beside)
    beside.rename(folder)


def _named(part: Combined, place: Place) -> str:
    """What messages call a model: the recipe that made it, a Hub id, or a path."""
    name = part.adapter or (part.model.name if isinstance(part.model, InputModel) else None)
    if name is not None:
        record = place.inputs[name].parent / "stage.json"
        made = json.loads(record.read_bytes())["name"].partition("/")[0] if record.is_file() else name
        return f"`{made}`"
    return f"`{part.model.repo if isinstance(part.model, HubModel) else getattr(part.model, 'path', '')}`"


def _check_alike(weights: list[Weights]) -> None:
    first = weights[0]
    for other in weights[1:]:
        if lacking := sorted(set(first.keys) ^ set(other.keys)):
            owner = first if lacking[0] in first.keys else other
            raise StageError(
                f"{first.name} and {other.name} are models of two kinds: only {owner.name} has `{lacking[0]}`",
                "merge models that were trained from one base",
            )
        for key in first.keys:
            if first.shape(key) != other.shape(key):
                raise StageError(
                    f"`{key}` has the shape {first.shape(key)} in {first.name} and {other.shape(key)} in {other.name}",
                    "merge models that were trained from one base",
                )


def _check_tokenizers(spec: Combine, parts: list[Combined], place: Place) -> None:
    words = [_tokenizer(spec, part, place).get_vocab() for part in parts]
    for part, other in zip(parts[1:], words[1:], strict=True):
        if other != words[0]:
            odd = sorted(token for token in other.keys() | words[0].keys() if other.get(token) != words[0].get(token))
            raise StageError(
                f"{_named(parts[0], place)} and {_named(part, place)} number {len(odd)} tokens differently: {odd[0]!r}",
                "merge models that share a tokenizer",
            )


def _tokenizer(spec: Combine, part: Combined, place: Place) -> Any:
    if part.adapter is not None:
        return loading.tokenizer_at(place.inputs[part.adapter])
    return loading.tokenizer_of(part.model, place, spec.trust_remote_code)


# -- merging --


def _write(spec: Combine, weights: list[Weights], folder: Path, place: Place) -> tuple[float, int]:
    """Write the merged tensors in files of at most `SHARD_BYTES`. Returns the relative change and their size."""
    moved, size, parameters = 0.0, 0.0, 0
    shards: list[dict[str, torch.Tensor]] = [{}]
    names: list[list[str]] = []
    for done, (key, start, tensor) in enumerate(_merged(spec, weights), start=1):
        tensor = tensor.to(weights[0].dtype or start.dtype) if start.is_floating_point() else tensor
        if shards[-1] and _bytes(shards[-1]) + _bytes({key: tensor}) > SHARD_BYTES:
            names.append(_save(shards.pop(), folder, len(names)))
            shards.append({})
        shards[-1][key] = tensor.contiguous()
        moved += (tensor.double() - start.double()).square().sum().item()
        size += start.double().square().sum().item()
        parameters += tensor.numel()
        place.event(event="progress", done=done, total=len(weights[0].keys), unit="tensors")
    names.append(_save(shards.pop(), folder, len(names)))
    _rename(folder, names)
    return (moved / size) ** 0.5 if size else 0.0, parameters


def _copy_configuration(weights: Weights, folder: Path) -> None:
    for file in (*weights.folder.glob("*config.json"), *weights.folder.glob("*.py")):
        shutil.copyfile(file, folder / file.name)
    if weights.dtype is not None:
        config = json.loads((folder / "config.json").read_bytes())
        config["dtype"] = str(weights.dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _merged(spec: Combine, weights: list[Weights]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name, tensor of the base or of the first model, and what all make of it."""
    for key in weights[0].keys:
        tensors = [each[key] for each in weights]
        start = tensors[0]
        if start.is_floating_point():
            yield key, start, _one(spec, key, [tensor.float() for tensor in tensors])
        else:
            yield key, start, start


def _one(spec: Combine, key: str, tensors: list[torch.Tensor]) -> torch.Tensor:
    shares = [part.weight for part in spec.models]
    if spec.method == "linear":
        return combining.linear(tensors, shares, spec.normalize)
    if spec.method == "slerp":
        assert spec.t is not None
        return combining.slerp(tensors[0], tensors[1], spec.t)
    base, *others = tensors
    differences = [tensor - base for tensor in others]
    densities = [part.density for part in spec.models]
    if spec.method == "ties":
        differences = [combining.largest(d, density) for d, density in zip(differences, densities, strict=True)]
    if spec.method.startswith("dare"):
        differences = [
            combining.dropped(difference, density, f"{spec.seed} {i} {key}")
            for i, (difference, density) in enumerate(zip(differences, densities, strict=True))
        ]
    if spec.method.endswith("ties"):
        return base + combining.agreeing(differences, shares, spec.normalize)
    return base + combining.linear(differences, shares, spec.normalize)


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _save(tensors: dict[str, torch.Tensor], folder: Path, number: int) -> list[str]:
    save_file(tensors, folder / f"part-{number}.safetensors", metadata={"format": "pt"})
    return list(tensors)


def _rename(folder: Path, names: list[list[str]]) -> None:
    """Give the files the names that Transformers looks for, and write down what is where."""
    if len(names) == 1:
        (folder / "part-0.safetensors").rename(folder / "model.safetensors")
        return
    files = [f"model-{i + 1:05}-of-{len(names):05}.safetensors" for i in range(len(names))]
    for i, file in enumerate(files):
        (folder / f"part-{i}.safetensors").rename(folder / file)
    total = sum((folder / file).stat().st_size for file in files)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: file for file, held in zip(files, names, strict=True) for name in held},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _check_stored(spec: Combine, folder: Path) -> None:
    """See that Transformers loads what was written, and that its numbers are finite. A head may be new: training
    gives one to a base that has none."""
    options: dict[str, Any] = {"num_labels": 1} if spec.head == "reward" else {}
    model, found = AUTO_CLASSES[spec.head].from_pretrained(
        folder, dtype="auto", trust_remote_code=spec.trust_remote_code, output_loading_info=True, **options
    )
    if loading.lacking(model, found, new_head=True) or not loading.probe(model.eval()).isfinite().all():
        raise StageError(
            "the merged model is broken: weights are missing, or it gives no finite numbers",
            "use smaller weights, or a larger density",
        )
