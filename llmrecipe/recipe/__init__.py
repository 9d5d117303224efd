"""The recipe language, version 1: one file per top-level key."""

from typing import Literal

from pydantic import JsonValue

from llmrecipe.methods import Method
from llmrecipe.recipe.data import Data
from llmrecipe.recipe.evaluation import Evaluation
from llmrecipe.recipe.export import Export
from llmrecipe.recipe.hardware import Hardware
from llmrecipe.recipe.lint import Lint
from llmrecipe.recipe.model import Model
from llmrecipe.recipe.serving import Serving
from llmrecipe.recipe.sweep import Sweep
from llmrecipe.recipe.tokenizer import Reuse, Tokenizer
from llmrecipe.recipe.tracking import Tracking
from llmrecipe.recipe.training import Training
from llmrecipe.schema import Name, Section
from llmrecipe.strategies import Distributed, Single


class Recipe(Section):
    """Everything about one model: where it comes from, what it learns from, how it is taught, judged and served."""

    version: Literal[1]
    """Version of the recipe language."""
    name: Name
    """Unique in its file; it names the run, the exported model, and what serves it."""
    model: Model
    tokenizer: Tokenizer = Reuse(kind="reuse")
    data: Data | None = None
    """Required with `method`."""
    method: Method | None = None
    """What is optimised. A recipe that only evaluates, exports or serves leaves out `data` and `method`."""
    training: Training = Training()
    tracking: Tracking = Tracking()
    distributed: Distributed = Single(kind="single")
    hardware: Hardware = Hardware()
    evaluation: Evaluation | None = None
    export: Export = Export()
    serving: Serving | None = None
    sweep: Sweep | None = None
    """A search over any fields; `llmrecipe sweep` runs it, `llmrecipe run` runs the recipe as it is written."""
    lint: Lint = Lint()
    metadata: dict[str, JsonValue] = {}
    """Free text for people: carried into the model card, never read."""


__all__ = ["Recipe"]
