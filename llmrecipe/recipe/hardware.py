"""`hardware`: what a run is meant for."""

from typing import Annotated

from pydantic import Field

from llmrecipe.schema import PositiveInt, Section


class Hardware(Section):
    """The machine that the recipe is meant for. Declared, never guessed."""

    accelerator: Annotated[str, Field(min_length=1)] = "cpu"
    """A preset: `cpu`, `h100-80gb`, `a100-80gb`, ... (`llmrecipe explain hardware.accelerator` lists them)."""
    num_accelerators: PositiveInt = 1
    """Devices of one node; with `cpu`, processes."""
    num_nodes: PositiveInt = 1
    """Machines that work together."""
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi|Ti)$")] | None = None
    """Host memory of one node, as Kubernetes writes it."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Price of one device and hour, in your currency."""
    budget: Annotated[float, Field(gt=0)] | None = None
    """Most that the training of this recipe may cost, in the currency of `price_per_hour`; US dollars without one."""
    accelerator_memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")] | None = None
    """Memory of one device, where it is not that of the preset: a share of one, or one that others use as well."""
    disk: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi|Ti)$")] | None = None
    """Room for checkpoints and exported models, as Kubernetes writes it."""
    carbon_intensity: Annotated[float, Field(ge=0)] | None = None
    """Grams of carbon dioxide of one kilowatt-hour where the machine stands. Left out: no estimate of carbon."""
    api_price_per_million_tokens: Annotated[float, Field(gt=0)] | None = None
    """What a hosted model asks for a million generated tokens, which `plan` compares with serving this one."""
