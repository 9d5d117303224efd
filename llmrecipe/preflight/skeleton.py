"""A model without weights: its modules, its parameters, and what an adapter reaches of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from llmrecipe.plan import HubModel, LocalModel, NewModel
from llmrecipe.preflight.case import Case
from llmrecipe.preflight.job import Size
from llmrecipe.stages import adapters, loading
from llmrecipe.vocabulary import DoRA, Full, LoRA

SHORT = 0.1
"""An embedding shorter than this share of the usual length was never trained."""
COMPARED = 2_000
"""Embeddings that the usual length is taken of."""
EXPERT_NAMES = frozenset(("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"))
"""Names of the layers of an expert, which PEFT turns into parameters where experts are fused."""


@dataclass
class Skeleton:
    """What is known of a model from its modules."""

    size: Size
    embeddings: int
    """Rows of the input embedding."""
    classes: set[str]
    """Class names of all modules."""
    layer_classes: list[str]
    """Classes that the model wants kept on one device: its layers."""
    linear_names: list[str]
    """Last names of the linear layers but the output head."""
    expert_share: float = 0.0
    """Weights of experts, of all."""
    expert_names: list[str] = field(default_factory=list)
    """How `target_parameters` calls them."""
    adapted_experts: bool = False
    coverage: float = 1.0
    """Weights of linear layers and experts that the adapter changes, of all of these."""
    untouched: list[str] = field(default_factory=list)
    """Last names of the linear layers that it does not change at all, the largest first."""
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    """Field of the adapter and the entry that names nothing."""
    trains_embeddings: bool = True
    embedding_name: str = ""
    folder: Path | None = None
    """Where the weights are, when that is a folder of this machine."""

    def untrained(self, tokens: list[int]) -> list[int]:
        """Those of the tokens whose embedding is far shorter than others; none when the weights are not at hand."""
        file = None if self.folder is None else _file_of(self.folder, self.embedding_name)
        if file is None or not tokens:
            return []
        with safe_open(file, "pt") as weights:
            rows = weights.get_slice(self.embedding_name)
            count = rows.get_shape()[0]
            usual = rows[: min(count, COMPARED)].float().norm(dim=1).median()
            short = SHORT * usual
            return [token for token in tokens if token < count and rows[token : token + 1].float().norm() < short]


def skeleton(case: Case) -> Skeleton:
    """The skeleton of the model that a case trains.

    Raises:
        StageError: the model cannot be had or built, or the adapter does not fit it.
    """
    origin = case.artifacts.origin(case.stage, case.spec.model)
    model = without_weights(case, origin)
    parameters = dict(model.named_parameters())
    total = sum(weight.numel() for weight in parameters.values())
    layers = dict(linear_layers(model))
    experts = {name: weight for name, weight in parameters.items() if ".experts." in name}
    found = Skeleton(
        size=Size(total=total, trainable=total),
        embeddings=model.get_input_embeddings().weight.shape[0],
        classes={type(module).__name__ for module in model.modules()},
        layer_classes=sorted(model._no_split_modules or ()),
        linear_names=sorted({name.rpartition(".")[2] for name in layers}),
        expert_share=sum(weight.numel() for weight in experts.values()) / max(1, total),
        expert_names=sorted({_from_layer(name) for name, weight in experts.items() if weight.ndim == 3}),
        folder=case.artifacts.folder_of(origin),
        embedding_name=_name_of(model, model.get_input_embeddings().weight),
    )
    if not isinstance(case.spec.adapter, Full):
        _adapted(found, model, case.spec.adapter, case)
    return found


def without_weights(case: Case, origin: HubModel | LocalModel | NewModel) -> Any:
    """A model on the meta device.

    Raises:
        StageError: it cannot be had or built.
    """
    spec = case.spec
    attention = "sdpa" if spec.attention.startswith("flash") else spec.attention  # Its package needs a GPU.
    with torch.device("meta"):
        if isinstance(origin, NewModel):
            return loading.new_model(origin.architecture, case.tokenizer, attention, "float32", spec.seed)
        config = configuration(case, origin)
        with loading.readable(origin.repo if isinstance(origin, HubModel) else origin.path, origin):
            return loading.AUTO_CLASSES[spec.head].from_config(
                config, attn_implementation=attention, trust_remote_code=spec.trust_remote_code
            )


def configuration(case: Case, origin: HubModel | LocalModel) -> Any:
    """The configuration of a model, with the head of the training.

    Raises:
        StageError: it cannot be had.
    """
    place = case.artifacts.place(f"{case.recipe}/read-model")
    loading.allow(case.spec.trust_remote_code, origin, place)
    name, revision = loading.locate(origin, place)
    options = {"num_labels": 1} if case.spec.head == "reward" else {}
    with loading.readable(name, origin):
        return AutoConfig.from_pretrained(
            name, revision=revision, trust_remote_code=case.spec.trust_remote_code, **options
        )


def linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Linear layers without the output head, by their names."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head and not name.endswith("score"):
            yield name, module


def _from_layer(name: str) -> str:
    """A parameter from its decoder layer on: `mlp.experts.gate_up_proj`."""
    return re.sub(r"^.*\.\d+\.", "", name)


def _name_of(model: Any, wanted: torch.Tensor) -> str:
    return next(str(name) for name, weight in model.named_parameters() if weight is wanted)


def _file_of(folder: Path, name: str) -> Path | None:
    """The safetensors file of a folder that holds a tensor."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        part = json.loads(index.read_bytes())["weight_map"].get(name)
        return None if part is None else folder / part
    single = folder / "model.safetensors"
    if not single.is_file():
        return None
    with safe_open(single, "pt") as weights:
        return single if name in weights.keys() else None  # noqa: SIM118 - it is no mapping


def _adapted(found: Skeleton, model: Any, adapter: LoRA | DoRA, case: Case) -> None:
    """Put the adapter on and see what it reaches."""
    layers = {name: module.weight.numel() for name, module in linear_layers(model)}
    parameters = {name: weight.numel() for name, weight in model.named_parameters()}
    modules = [name for name, _ in model.named_modules() if name]
    plain = adapter.model_copy(update={"init_lora_weights": "default"})  # Others look at weights.
    with torch.device("meta"):
        adapted = adapters.with_new_adapter(model, plain, case.spec.seed, case.spec.head)
    reached = {name.removeprefix("base_model.model.") for name in adapted.targeted_module_names}
    reached_parameters = set(adapted.targeted_parameter_names)
    experts = {name for name in parameters if ".experts." in name}
    found.size = Size(total=found.size.total, trainable=sum(w.numel() for w in adapted.parameters() if w.requires_grad))
    found.adapted_experts = any(".experts" in name for name in reached | reached_parameters)
    changed = sum(count for name, count in layers.items() if name in reached)
    changed += sum(parameters[name] for name in experts & reached_parameters)
    found.coverage = changed / max(1, sum(layers.values()) + sum(parameters[n] for n in experts if parameters[n]))
    found.untouched = _largest({name: count for name, count in layers.items() if name not in reached}, reached)
    embedding = found.embedding_name.removesuffix(".weight")
    found.trains_embeddings = any(_ends(embedding, name) for name in adapter.modules_to_save) or embedding in reached
    found.unmatched = list(_unmatched(adapter, modules, reached, set(parameters), found.adapted_experts))


def _largest(layers: dict[str, int], reached: set[str]) -> list[str]:
    """Last names of layers that are nowhere reached, by how many weights they have."""
    sizes: dict[str, int] = {}
    for name, count in layers.items():
        sizes[name.rpartition(".")[2]] = sizes.get(name.rpartition(".")[2], 0) + count
    somewhere = {name.rpartition(".")[2] for name in reached}
    return sorted(sizes.keys() - somewhere, key=lambda name: -sizes[name]) or sorted(sizes)


def _unmatched(
    adapter: LoRA | DoRA, modules: list[str], reached: set[str], parameters: set[str], experts: bool
) -> Iterator[tuple[str, str]]:
    """Entries of the adapter that name nothing in the model."""
    if adapter.target_modules != "all-linear":
        for entry in adapter.target_modules:
            fused = experts and entry in EXPERT_NAMES
            if not fused and not any(_ends(name, entry) for name in modules):
                yield "target_modules", entry
    for entry in adapter.target_parameters:
        if not any(_ends(name, entry) for name in parameters):
            yield "target_parameters", entry
    for entry in adapter.modules_to_save:
        if not any(_ends(name, entry) for name in modules):
            yield "modules_to_save", entry
    for field_ in ("rank_pattern", "alpha_pattern"):
        for entry in getattr(adapter, field_):
            pattern = re.compile(rf"(.*\.)?({entry})$")  # As PEFT matches them.
            if not any(pattern.match(name) for name in reached | parameters):
                yield field_, entry


def _ends(name: str, entry: str) -> bool:
    """Whether PEFT takes a module for the one that an entry names."""
    return name == entry or name.endswith(f".{entry}")
