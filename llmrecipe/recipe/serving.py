"""`serving`: the engine that answers, its options and its replicas."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from llmrecipe.schema import Fraction, PositiveInt, SecretName, Section
from llmrecipe.vocabulary import RecipeReference

Port = Annotated[int, Field(ge=1, le=65535)]


class Replicas(Section):
    """How many servers run side by side."""

    min: PositiveInt = 1
    """Servers that always run."""


class Transformers(Section):
    """Transformers' own OpenAI-compatible server: a local look, on any machine."""

    kind: Literal["transformers"]
    port: Port = 8000
    """Port on which it listens."""
    continuous_batching: bool = False
    """Let requests join a running batch."""


class VLLM(Section):
    """vLLM, the engine in production. Options carry the names of `vllm serve`."""

    kind: Literal["vllm"]
    port: Port = 8000
    """Port on which it listens."""
    image: Annotated[str, Field(min_length=1)] = "vllm/vllm-openai:v0.33.0"
    """Container image of the server; pin it by digest for production."""
    served_model_name: Annotated[str, Field(min_length=1)] | None = None
    """Name that clients ask for; the recipe's when left out."""
    tensor_parallel_size: PositiveInt = 1
    """Devices over which one replica is split."""
    max_model_len: PositiveInt | None = None
    """Longest prompt and answer, in tokens; the model's own limit when left out."""
    max_num_seqs: PositiveInt | None = None
    """Most requests that are answered at the same time."""
    gpu_memory_utilization: Fraction | None = None
    """Share of the device's memory that the server may take."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; `auto` takes that of the checkpoint."""
    enable_prefix_caching: bool | None = None
    """Keep the attention of shared prompt beginnings; vLLM's own choice when left out."""
    api_key: SecretName | None = None
    """Clients must send this key: `${env:NAME}`."""
    adapters: list[RecipeReference] = []
    """Adapters that are answered with beside the model, each under the name of its recipe, which exports it alone."""
    replicas: Replicas = Replicas()
    extra: dict[str, JsonValue] = {}
    """Any other option of `vllm serve`, by its name with underscores; names and values are checked."""


Serving = Annotated[VLLM | Transformers, Field(discriminator="kind")]
