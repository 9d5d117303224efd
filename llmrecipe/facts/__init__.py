"""Tables of what others define: trainer options, vLLM options, accelerators, models, families; read when asked for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

_FOLDER = Path(__file__).parent

_PYTHON: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "dict": (dict,),
    "list": (list,),
    "bool": (bool,),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True)
class TrainerField:
    """One field of a trainer's configuration class."""

    type: str
    """Plain types joined with `|`: `int | None`, `dict | str | None`."""
    default: Any
    """A JSON value."""
    choices: tuple[str, ...] = ()
    """Names that a text may be, when the class has a closed set of them."""

    def accepts(self, value: object) -> bool:
        """Whether a YAML value has the type of the field; a whole number is a `float` too, a boolean is no number."""
        if isinstance(value, str) and self.choices:
            return value in self.choices
        kinds = self.type.split(" | ")
        if isinstance(value, bool):
            return "bool" in kinds
        return any(isinstance(value, _PYTHON[kind]) for kind in kinds if kind != "bool")


@dataclass(frozen=True, slots=True)
class VLLMOption:
    """One option of `vllm serve`."""

    flag: str
    """The flag that sets it: `--max-model-len`."""
    negative: str | None
    """The flag that sets a boolean to false, where it has one."""
    kind: Literal["bool", "int", "float", "str", "json", "list"]
    choices: tuple[str, ...]
    default: Any
    """A JSON value; null also where the default is computed."""

    def accepts(self, value: object) -> bool:
        """Whether a YAML value can be written behind the flag.

        `json` takes mappings and text (some options have shorthands); `list` takes text or a list of scalars.
        """
        members = value if self.kind == "list" and isinstance(value, list) else [value]
        if self.choices and not all(str(member) in self.choices for member in members):
            return False
        match self.kind:
            case "bool":
                return isinstance(value, bool)
            case "int":
                return isinstance(value, int) and not isinstance(value, bool)
            case "float":
                return isinstance(value, int | float) and not isinstance(value, bool)
            case "str":
                return isinstance(value, str)
            case "json":
                return isinstance(value, dict | list | str)
            case "list":
                return all(isinstance(member, str | int | float) for member in members)


@dataclass(frozen=True, slots=True)
class VLLMMetric:
    """A family of metrics of a vLLM server."""

    type: Literal["counter", "gauge", "histogram"]
    when: str | None
    """The option without which it is not there, or stays at 0."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A preset of `hardware.accelerator`."""

    memory: float
    """GiB that the driver reports, rounded down to a tenth; 0 for `cpu`."""
    compute_capability: str | None
    bfloat16: bool
    """Whether matrix products in bfloat16 are done by the hardware."""
    bfloat16_tflops: float | None
    """Dense peak, 10^12 operations per second, without sparsity."""
    float16_tflops: float | None
    """Likewise; sums in float32."""
    float32_tflops: float | None
    """Likewise, without TensorFloat-32."""
    fp8: bool
    """Whether matrix products in 8 bits are done by the hardware."""
    fp8_tflops: float | None
    bandwidth: int | None
    """Of its memory, in GB per second."""
    interconnect: str | None
    """What joins the devices of a node where the fastest kind of such nodes is meant: `NVLink`, `PCIe`."""
    interconnect_bandwidth: int | None
    """GB per second of one device, both directions together."""
    watts: int | None
    """Most power that it draws."""
    price: tuple[float, float] | None
    """What clouds ask for one device and hour, in US dollars, lowest and highest."""
    price_source: str | None
    """Where these prices stood, and when."""
    resource: str | None
    """What Kubernetes calls one device: `nvidia.com/gpu`."""
    products: tuple[str, ...]
    """Values of the node label `nvidia.com/gpu.product`."""
    source: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the configuration of a published model says."""

    family: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    max_position_embeddings: int | None
    """Null where it differs between editions of the model."""
    dtype: Literal["float32", "bfloat16", "float16"]
    parameters: int
    source: str
    num_experts: int = 0
    """Feed-forward blocks of a layer of a mixture of experts; 0 without one."""
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    """Width of one expert."""
    quantization: str | None = None
    """How the published weights are quantized; what `dtype` says is then the type of the rest."""


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What the tokenizer of a published model does, as far as rules ask. None: not known, or different by revision."""

    chat_template: bool
    """Whether it brings a chat template."""
    chatml: bool
    """Whether `<|im_start|>` and `<|im_end|>` are tokens of their own."""
    begins: bool
    """Whether it puts a beginning of text before every text."""
    end: str
    """Its end of text."""
    end_of_turn: str | None
    """The token with which the template ends a turn."""
    thinks: bool
    """Whether the template knows thoughts, and leaves those of earlier turns out."""
    turns_marked: bool | None
    """Whether the template marks the assistant's turns, itself or in the variant that TRL trains with."""
    source: str


@dataclass(frozen=True, slots=True)
class ArchitectureFacts:
    """What the classes of a `model_type` in Transformers say. Names of modules are without what leads to them.

    Where names depend on settings of the configuration, those of all usual ones are here; flags and what is said of
    positions, windows and ties belong to a configuration with its defaults.
    """

    head: Literal["causal", "masked"]
    """What its language models end in."""
    config: str
    """Class name in `transformers`."""
    model: str
    """Class name in `transformers`."""
    linear: tuple[str, ...]
    """Linear layers inside of the layers that repeat."""
    embeddings: tuple[str, ...]
    """Embeddings, that of the tokens first."""
    output: str
    """The layer that makes logits."""
    parts: tuple[str, ...]
    """All modules that have no other place here."""
    classes: tuple[str, ...]
    """Classes of modules that are made for this family."""
    wrapped: tuple[str, ...] = ()
    """Classes of the layers that FSDP wraps, and that nothing splits over devices."""
    outside: tuple[str, ...] = ()
    """Linear layers before and behind those that repeat, but for the output."""
    norms: tuple[str, ...] = ()
    convolutions: tuple[str, ...] = ()
    """Which adapters take by name, and `all-linear` does not."""
    experts: tuple[str, ...] = ()
    """Weights of a mixture of experts that are no layers of their own, as `target_parameters` names them."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Layers that were there before Transformers 5 -> the weights that PEFT takes these names for."""
    biases: tuple[str, ...] = ()
    """Modules with a bias, and weights whose names say that they are biases."""
    attention: tuple[str, ...] = ()
    """Implementations that it has beside `eager`: `sdpa`, `flash`, `flex`; `kernel`, where one of the Hub takes the
    place of FlashAttention."""
    sliding: Literal["some", "all"] | None = None
    """Layers whose attention sees a window: some by the design of the family, or all through one number."""
    positions: Literal["rotary", "table", "alibi"] | None = None
    """How it knows the order of tokens. None: in another way, or as the configuration says."""
    tied: bool = False
    """Whether the output is the embedding."""
    splits: bool = False
    """Whether Transformers says how its layers are split over devices, in ways that checkpoints can hold."""
    shares: bool = False
    """Whether its attention can be computed over shares of a sequence, unless `sliding` says `all`."""

    @property
    def modules(self) -> frozenset[str]:
        """Names of all modules."""
        named = (self.linear, self.outside, self.embeddings, (self.output,), self.norms)
        return frozenset(name for names in (*named, self.convolutions, self.parts) for name in names)


@dataclass(frozen=True, slots=True)
class Family:
    """How an Architecture is said in the configuration class of its Transformers `model_type`."""

    fields: Mapping[str, str]
    """Field of Architecture -> field of the class. What is missing, the family does not have."""
    constants: Mapping[str, Any]
    """Further fields that an Architecture of this family always sets."""
    heads_divide_hidden_size: bool
    """Whether `hidden_size` must be a multiple of `num_attention_heads` even when `head_dim` is given."""
    tokens: Sequence[str] = ("bos_token_id", "eos_token_id", "pad_token_id")
    """Fields of the class that name special tokens."""


@cache
def _table(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def trainer_fields(config: str) -> Mapping[str, TrainerField]:
    """Field name -> field of a configuration class, `trl:SFTConfig`.

    Raises:
        KeyError: the table does not hold that class.
    """
    return {
        name: TrainerField(entry["type"], entry["default"], tuple(entry.get("choices", ())))
        for name, entry in _table("trainers")["configs"][config].items()
    }


@cache
def vllm_options() -> Mapping[str, VLLMOption]:
    """Option of `vllm serve`, by its name with underscores."""
    return {
        name: VLLMOption(
            flag=entry["flag"],
            negative=entry.get("negative"),
            kind=entry["kind"],
            choices=tuple(entry.get("choices", ())),
            default=entry.get("default"),
        )
        for name, entry in _table("vllm")["options"].items()
    }


def vllm_version() -> str:
    """The release of vLLM that `vllm_options` describes."""
    return str(_table("vllm")["version"])


@cache
def vllm_parsers(of: Literal["tool", "reasoning"]) -> tuple[str, ...]:
    """Names that `--tool-call-parser` or `--reasoning-parser` knows without a plugin."""
    return tuple(_table("vllm")[f"{of}_parsers"])


@cache
def vllm_metrics() -> Mapping[str, VLLMMetric]:
    """Family of metrics as a server writes it at `/metrics`, `vllm:num_requests_running` -> what it is."""
    return {
        name: VLLMMetric(entry["type"], entry.get("when")) for name, entry in _table("vllm_metrics")["metrics"].items()
    }


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Presets of `hardware.accelerator`."""
    return {
        name: Accelerator(
            **entry | {"products": tuple(entry["products"]), "price": entry["price"] and tuple(entry["price"])}
        )
        for name, entry in _table("accelerators").items()
    }


@cache
def models() -> Mapping[str, ModelFacts]:
    """Hub id -> what its configuration says."""
    found = {}
    for entry in _table("models"):
        facts = ModelFacts(**{name: value for name, value in entry.items() if name != "repos"})
        found.update(dict.fromkeys(entry["repos"], facts))
    return found


@cache
def tokenizers() -> Mapping[str, TokenizerFacts]:
    """Hub id -> what its tokenizer does."""
    found = {}
    for entry in _table("tokenizers"):
        facts = TokenizerFacts(**{name: value for name, value in entry.items() if name != "repos"})
        found.update(dict.fromkeys(entry["repos"], facts))
    return found


@cache
def architectures() -> Mapping[str, ArchitectureFacts]:
    """`model_type` -> what the classes of the installed Transformers say."""
    found = {}
    for name, row in _table("architectures")["families"].items():
        columns: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        found[name] = ArchitectureFacts(**columns)
    return found


@cache
def families() -> Mapping[str, Family]:
    """Family of an Architecture -> how Transformers says it."""
    return {name: Family(**entry) for name, entry in _table("families").items()}


@cache
def model_types(head: Literal["any", "causal", "masked", "reward"] = "any") -> frozenset[str]:
    """The `model_type`s that Transformers knows, or those of which it has a model with that head."""
    return frozenset(_table("model_types")[head])


def transformers_version() -> str:
    """The release of Transformers that `model_types` describes."""
    return str(_table("model_types")["version"])


@cache
def recipe_fields() -> Mapping[str, Mapping[str, Any]]:
    """Path in a recipe -> type, default, description: what `llmrecipe explain` prints."""
    found: Mapping[str, Mapping[str, Any]] = _table("fields")
    return found


@cache
def checks() -> Mapping[str, str]:
    """Code of a check of preflight or of `validate --online` -> its name."""
    found: Mapping[str, str] = _table("checks")
    return found


__all__ = [
    "Accelerator",
    "ArchitectureFacts",
    "Family",
    "ModelFacts",
    "TokenizerFacts",
    "TrainerField",
    "VLLMMetric",
    "VLLMOption",
    "accelerators",
    "architectures",
    "checks",
    "families",
    "model_types",
    "models",
    "recipe_fields",
    "tokenizers",
    "trainer_fields",
    "transformers_version",
    "vllm_metrics",
    "vllm_options",
    "vllm_parsers",
    "vllm_version",
]
