"""What a recipe and a plan say with the same words: formats, preparation steps, adapters, optimizers, schedules."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from llmrecipe.schema import Fraction, PositiveInt, Section

Format = Literal[
    "text",
    "messages",
    "conversations",
    "instruction",
    "prompt_completion",
    "preference",
    "unpaired_preference",
    "prompt",
    "question",
]
"""How the rows of a source are written.

`text`: a string. `messages`: a list of `{role, content}`. `conversations`: a list of `{from, value}` (ShareGPT).
`instruction`: `instruction`, optional `input`, `output` (Alpaca). `prompt_completion`: `prompt` and `completion`, two
strings or two lists of messages. `preference`: `prompt`, `chosen` and `rejected`. `unpaired_preference`: `prompt`,
`completion`, and `label`, whether the completion is a good one. `prompt`: `prompt` alone, a string or messages, and an
optional `reference` to compare answers with. `question`: likewise `question`, what the user of a chat asks, and
`reference`.
"""

RowKind = Literal["text", "messages", "prompt_completion", "preference", "unpaired_preference", "prompt"]
"""How rows look after preparation: `conversations` and `instruction` have become `messages`."""

ROW_KIND: dict[Format, RowKind] = {
    "text": "text",
    "messages": "messages",
    "conversations": "messages",
    "instruction": "messages",
    "prompt_completion": "prompt_completion",
    "preference": "preference",
    "unpaired_preference": "unpaired_preference",
    "prompt": "prompt",
    "question": "prompt",
}

Dtype = Literal["float32", "bfloat16", "float16"]

Objective = Literal["causal", "preference", "unpaired_preference", "prompt", "masked"]
"""What tokenization makes of a row."""

TooLong = Literal["cut", "drop"]
"""What becomes of a preference with an answer that is longer than `max_length`."""

Head = Literal["causal", "masked", "reward"]
"""What a model ends in: `causal` and `masked` predict tokens, `reward` is one number for a whole text."""


# -- preparation steps, in the order in which a recipe lists them --


class Normalize(Section):
    """Make the text uniform: Unicode form, line ends, trailing blanks."""

    kind: Literal["normalize"]
    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normalisation form."""
    whitespace: bool = True
    """Turn `\\r\\n` into `\\n`, cut blanks at line ends and more than two empty lines in a row."""
    strip_control: bool = True
    """Drop control characters other than tab and newline."""


class Filter(Section):
    """Drop rows by simple measures of their text; every bound left out is not checked."""

    kind: Literal["filter"]
    min_words: PositiveInt | None = None
    """Fewest whitespace-separated words."""
    max_words: PositiveInt | None = None
    """Most whitespace-separated words."""
    min_characters: PositiveInt | None = None
    """Fewest characters."""
    max_characters: PositiveInt | None = None
    """Most characters."""
    max_symbol_ratio: Fraction | None = None
    """Largest share of characters that are neither letters, digits nor white space."""
    max_duplicate_line_ratio: Fraction | None = None
    """Largest share of non-empty lines that repeat an earlier line of the same row."""
    pattern: str | None = None
    """Keep only rows in which this regular expression is found (Python syntax)."""
    exclude_pattern: str | None = None
    """Drop rows in which this regular expression is found."""


class Deduplicate(Section):
    """Keep the first of rows that are equal."""

    kind: Literal["deduplicate"]
    algorithm: Literal["exact"] = "exact"
    """`exact`: rows whose whole content is equal."""
    ignore_case: bool = False
    """Compare without regard to case and runs of white space."""


PrepareStep = Annotated[Normalize | Filter | Deduplicate, Field(discriminator="kind")]


# -- models --


class RecipeReference(Section):
    """The model that another recipe exports."""

    recipe: Annotated[str, Field(min_length=1)]
    """`NAME` of a document of the same file, or `path/to/file.yaml#NAME`."""

    @property
    def name(self) -> str:
        """The name of the recipe, without its file."""
        return self.recipe.rpartition("#")[2]


ModelReference = Annotated[str, Field(min_length=1)] | RecipeReference
"""A model with weights: a Hub id, a path (`./`, `../`, `~` or `/` first), or `{recipe: NAME}`."""


def is_path(base: str) -> bool:
    """Whether a reference is a directory of this machine; any other string is a Hub id."""
    return base.startswith(("./", "../", "~", "/"))


class Architecture(Section):
    """A language model from scratch, in the terms of its Transformers configuration."""

    family: Literal[
        "qwen3", "qwen3_moe", "llama", "mistral", "gemma3_text", "smollm3", "falcon", "gpt2", "bert", "modernbert"
    ]
    """The Transformers `model_type`. `bert` and `modernbert` are encoders, for the method `mlm`."""
    hidden_size: PositiveInt
    """Width of the residual stream."""
    num_hidden_layers: PositiveInt
    """Layers."""
    num_attention_heads: PositiveInt
    """Query heads of one layer."""
    num_key_value_heads: PositiveInt | None = None
    """Key-value heads of grouped-query attention; all heads when left out."""
    head_dim: PositiveInt | None = None
    """Width of one head; `hidden_size / num_attention_heads` when left out."""
    intermediate_size: PositiveInt | None = None
    """Width of the feed-forward block; four times `hidden_size` when left out."""
    num_experts: PositiveInt | None = None
    """Feed-forward blocks of one layer of a mixture of experts; 8 when left out."""
    num_experts_per_tok: PositiveInt | None = None
    """Experts that compute for a token; 2 when left out."""
    moe_intermediate_size: PositiveInt | None = None
    """Width of one expert; four times `hidden_size`, shared by the experts of a token, when left out."""
    router_aux_loss_coef: Annotated[float, Field(ge=0)] | None = None
    """Weight of the loss that spreads tokens over the experts; the family's own when left out.

    Source: https://arxiv.org/abs/2101.03961
    """
    max_position_embeddings: PositiveInt | None = None
    """Longest sequence; `training.max_length` when left out."""
    rope_theta: Annotated[float, Field(gt=0)] | None = None
    """Base of the rotary positions; the family's own when left out."""
    tie_word_embeddings: bool = True
    """Use the input embedding as the output head."""
    initializer_range: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of the initial weights; the family's own when left out."""


class Masking(Section):
    """Which tokens a masked language model has to guess. Source: https://arxiv.org/abs/1810.04805, section 3.1"""

    mlm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that are to be guessed, chosen anew in every epoch."""
    mask_replace_prob: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of these that the model sees as the mask token."""
    random_replace_prob: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of these that the model sees as some other token; the rest it sees as they are."""
    whole_word: bool = False
    """Choose words, with all of their tokens, instead of tokens."""


class Full(Section):
    """Train every weight."""

    kind: Literal["full"]


Initialization = Literal["default", "gaussian", "orthogonal", "olora", "pissa", "pissa_niter_4", "pissa_niter_16"]
"""How the two matrices of an update begin.

`default`: one is zero, so that nothing changes at first; `gaussian`: the same with normal numbers in the other;
`orthogonal`: neither is zero, and their product is; `pissa`: the largest singular vectors of the weight
(https://arxiv.org/abs/2404.02948), with `_niter_N` by N subspace iterations, which is much faster; `olora`: its QR
factors (https://arxiv.org/abs/2406.01775). The last two take their product out of the weight while it is trained.
"""


class _LowRank(Section):
    r: PositiveInt = 16
    """Rank of the update."""
    lora_alpha: PositiveInt = 32
    """The update is scaled by `lora_alpha / r` (by `lora_alpha / sqrt(r)` with `use_rslora`)."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is dropped while training."""
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """The layers that get an update: all linear ones but the output head, or names. `[]` with `target_parameters`."""
    exclude_modules: list[str] = []
    """Names of layers that get none although `target_modules` says so."""
    layers_to_transform: list[Annotated[int, Field(ge=0)]] | None = None
    """Numbers of the decoder layers that get an update, from 0. Needs names in `target_modules`."""
    target_parameters: list[str] = []
    """Weights that are no layers of their own, such as the experts of a mixture: `mlp.experts.gate_up_proj`."""
    rank_pattern: dict[str, PositiveInt] = {}
    """Names, or regular expressions that a name ends with -> a rank other than `r`."""
    alpha_pattern: dict[str, PositiveInt] = {}
    """Names, or regular expressions that a name ends with -> a scale other than `lora_alpha`."""
    modules_to_save: list[str] = []
    """Modules that are trained whole and saved beside the adapter."""
    trainable_token_indices: list[Annotated[int, Field(ge=0)]] = []
    """Ids of tokens whose embeddings are trained as well; all others stay as they are."""
    use_rslora: bool = False
    """Rank-stabilised scaling. Source: https://arxiv.org/abs/2312.03732"""
    init_lora_weights: Initialization = "default"
    """How the update begins."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1)] | None = None
    """LoRA+: the second matrix of each update learns so many times faster. Source: https://arxiv.org/abs/2402.12354"""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained as well."""


class LoRA(_LowRank):
    """Train low-rank updates of linear layers. Source: https://arxiv.org/abs/2106.09685"""

    kind: Literal["lora"]


class DoRA(_LowRank):
    """LoRA whose direction and magnitude are learned apart. Source: https://arxiv.org/abs/2402.09353"""

    kind: Literal["dora"]


Adapter = Annotated[Full | LoRA | DoRA, Field(discriminator="kind")]


class Unquantized(Section):
    """The weights of the base as they are."""

    kind: Literal["none"]


class Int8(Section):
    """The base in 8 bits while an adapter is trained on it. Source: https://arxiv.org/abs/2208.07339"""

    kind: Literal["int8"]


class NF4(Section):
    """The base in 4 bits while an adapter is trained on it (QLoRA). Source: https://arxiv.org/abs/2305.14314"""

    kind: Literal["nf4"]
    double_quantization: bool = True
    """Quantize the scales of the blocks as well: 0.37 bits less per weight."""
    compute_dtype: Literal["auto"] | Dtype = "auto"
    """Type in which layers compute. `auto`: that of `training.precision`."""
    quant_storage: Literal["uint8"] | Dtype = "uint8"
    """Type of the numbers that the 4 bits are packed into. FSDP splits a model of one type only: write that of
    `model.dtype`."""


Quantization = Annotated[Unquantized | Int8 | NF4, Field(discriminator="kind")]

Attention = Literal["sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"]


# -- rewards --


class _Reward(Section):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)] | None = None
    """What the log and the metrics call it. Left out: its kind; for Python, the name of the function."""
    weight: float = 1.0
    """What it counts in the sum of the rewards; below zero it is a penalty."""


class ExactMatch(_Reward):
    """1 when the answer is the reference, else 0; white space around either does not count."""

    kind: Literal["exact_match"]
    ignore_case: bool = False
    """Compare without regard to case."""


class NumericAnswer(_Reward):
    """1 when the last number in the answer is the last number in the reference, else 0.

    Thousands may be set apart by commas: `1,250.5` is one number.
    """

    kind: Literal["numeric_answer"]
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """Largest difference that counts as equal."""


class RegularExpression(_Reward):
    """1 when a regular expression is found in the answer, else 0."""

    kind: Literal["regex"]
    pattern: Annotated[str, Field(min_length=1)]
    """Python syntax; `.` does not match the end of a line unless the pattern says `(?s)`."""
    group: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] | None = None
    """A group, by number or name, that must be equal to the reference. Left out: being found is enough."""


class JSONSchema(_Reward):
    """1 when the answer is JSON that the schema accepts, else 0. Needs the package `jsonschema`."""

    kind: Literal["json_schema"]
    json_schema: dict[str, JsonValue] | Annotated[str, Field(min_length=1)]
    """The schema itself, or the path of a JSON file that holds it."""


class Length(_Reward):
    """1 when the answer has the wanted length, and less the farther it is from it, down to 0.

    An answer of `n` below `min` has `n / min`; above `max` it has `2 - n / max`; with `target` it has
    `1 - |n - target| / target`; never below 0.
    """

    kind: Literal["length"]
    unit: Literal["tokens", "characters"] = "tokens"
    """What is counted. Tokens are those that were generated, the end of text among them."""
    min: PositiveInt | None = None
    """Shortest length that has the whole reward."""
    max: PositiveInt | None = None
    """Longest length that has the whole reward."""
    target: PositiveInt | None = None
    """The one length that has the whole reward, instead of `min` and `max`."""


class PythonFunction(_Reward):
    """A function of a Python file. Needs `llmrecipe run --allow-code`, or the file in the trust list.

    It is called as `function(prompts, completions, completion_ids, reference, **columns)`, all lists with one entry per
    answer, and returns as many numbers; `None` says that it has no opinion on an answer.
    """

    kind: Literal["python"]
    path: Annotated[str, Field(min_length=1)]
    """A file of Python code; a relative path starts from the recipe's folder."""
    function: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=40)]
    """Name of the function in that file."""


RewardFunction = Annotated[
    ExactMatch | NumericAnswer | RegularExpression | JSONSchema | Length | PythonFunction,
    Field(discriminator="kind"),
]


# -- tokenizers --


class TrainedTokenizer(Section):
    """A tokenizer trained on the training text."""

    kind: Literal["train"]
    algorithm: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """`bpe` works on bytes and never meets an unknown character; `wordpiece` and `unigram` work on characters.

    `unigram` learns from at most 10 million characters, taken evenly from all rows: it needs far more time for each.
    """
    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)]
    """Tokens in all, special ones included."""
    min_frequency: PositiveInt = 2
    """Pairs seen less often are not merged."""
    limit_alphabet: PositiveInt = 1000
    """Most single characters that `wordpiece` and `unigram` keep; `bpe` always has its 256 bytes."""
    special_tokens: list[str] = []
    """Tokens never split, beside those that the tokenizer needs itself."""


# -- export --


class Safetensors(Section):
    """Weights, configuration and tokenizer as Transformers and vLLM load them."""

    kind: Literal["safetensors"]
    dtype: Dtype | None = None
    """Type of the written weights; that of the trained model when left out."""
    max_shard_size: Annotated[str, Field(pattern=r"^[0-9]+(MB|GB)$")] = "5GB"
    """Largest file of weights; more become several."""


ExportFormat = Safetensors
"""One format today; others join as further kinds."""


# -- evaluation --


class Gate(Section):
    """A bound that a metric must keep; export stops when it does not."""

    metric: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9_]+$")]
    """The suite's name, a slash, and the metric: `perplexity/perplexity`."""
    min: float | None = None
    """The metric must not be below."""
    max: float | None = None
    """The metric must not be above."""
