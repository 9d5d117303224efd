"""Adapters and wrapped layers against the modules that the model really has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.preflight.check import Finding, check
from llmrecipe.strategies import FSDP
from llmrecipe.vocabulary import Full

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case


@check("LR275", tier="model")
def model_that_cannot_be_had(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Reads the configuration of the model and builds it without weights; an adapter is put on it.

    ## Why is this bad?
    A misspelt name, a gated model, an architecture that the installed Transformers does not know, or an adapter that
    fits no layer ends the run after the data was prepared and the weights were fetched.

    ## How to mend it
    What the message says; mostly `model.base` or `model.adapter`.

    ## Source
    `AutoConfig.from_pretrained` and `get_peft_model` of the installed libraries.
    """
    if (problem := case.problem("skeleton")) is not None:
        at = "model.adapter" if "adapter" in problem.message else "model.base"
        yield Finding(at, problem.message, problem.help or "correct it")


@check("LR276", tier="model")
def target_that_matches_nothing(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Looks for the layers that each entry of `target_modules`, `target_parameters`, `modules_to_save`, `rank_pattern` and
    `alpha_pattern` names in the model itself.

    ## Why is this bad?
    PEFT complains only where nothing matches at all: of `[q_proj, query_key_value]` one half is trained, and a misspelt
    `modules_to_save` or `rank_pattern` does nothing.

    ## How to mend it
    Use the names that the message lists.

    ## Source
    PEFT 0.21: `modules_to_save: [lmhead]` and `rank_pattern: {nope: 64}` leave the trainable weights as they are.
    """
    for field, entry in case.skeleton.unmatched:
        yield Finding(
            f"model.adapter.{field}",
            f"`{entry}` matches no module of the model; it has {', '.join(case.skeleton.linear_names[:12])}",
            "use one of these names, or leave the entry out",
        )


@check("LR277", "warning", tier="model")
def experts_without_an_adapter(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adapter on a mixture of experts reaches the experts where they hold most of the weights.

    ## Why is this bad?
    Experts are parameters of three dimensions in Transformers 5 and no linear layers. The names that fit dense models
    adapt none of them: attention alone learns.

    ## How to mend it
    Name them in `model.adapter.target_parameters`, as the message does, or leave it at that knowingly and silence this
    check.

    ## Source
    The seven usual names on a small Mixtral: 0 of the 75 % of its weights that are experts.
    """
    bones = case.skeleton
    if isinstance(case.spec.adapter, Full) or bones.adapted_experts or bones.expert_share < 0.3:
        return
    yield Finding(
        "model.adapter",
        f"{bones.expert_share:.0%} of the weights are experts, and the adapter reaches none of them",
        f"add `target_parameters: [{', '.join(bones.expert_names)}]`",
    )


@check("LR278", "warning", tier="model")
def adapter_on_a_few_layers(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Adds up the weights of the linear layers (without the output head) that the adapter changes: a warning below 15 % of
    them, where the layers were not chosen by `layers_to_transform`.

    ## Why is this bad?
    In models that mix attention with Mamba or linear attention, `q_proj` and its like stand in a few layers only, and
    the training learns next to nothing.

    ## How to mend it
    `target_modules: all-linear`, or the names that the message lists.

    ## Source
    https://github.com/huggingface/peft/issues/3554: 4 of 56 layers were adapted, and the loss of DPO stayed at ln 2.
    """
    adapter, bones = case.spec.adapter, case.skeleton
    if isinstance(adapter, Full) or getattr(adapter, "layers_to_transform", None):
        return
    if bones.coverage < 0.15:
        yield Finding(
            "model.adapter",
            f"the adapter reaches {bones.coverage:.1%} of the weights of linear layers; not "
            f"{', '.join(bones.untouched[:8])}",
            "write `target_modules: all-linear`",
        )


@check("LR279", tier="model")
def wrapped_layer_of_another_model(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that the layer classes that FSDP is told to shard are classes of the model.

    ## Why is this bad?
    A class that does not occur shards nothing: every device gathers the whole model at once, and memory ends.

    ## How to mend it
    Leave the option out, so that the model's own list is taken, or use the name that the message gives.

    ## Source
    `_no_split_modules` of the models of Transformers.
    """
    strategy = case.spec.distributed
    if not isinstance(strategy, FSDP):
        return
    for number, name in enumerate(strategy.wrap):
        if name not in case.skeleton.classes:
            yield Finding(
                f"distributed.wrap.{number}",
                f"the model has no module of the class `{name}`; its layers are "
                f"{', '.join(case.skeleton.layer_classes) or 'not named'}",
                "use that name, or leave the option out",
            )
