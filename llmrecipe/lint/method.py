"""LR3: what a method asks of the rest of the recipe."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.lint.sources import row_kind
from llmrecipe.methods import Method
from llmrecipe.methods.cpo import CPO
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.kto import KTO
from llmrecipe.methods.orpo import ORPO
from llmrecipe.methods.ppo import PPO
from llmrecipe.methods.rloo import RLOO
from llmrecipe.methods.sft import SFT
from llmrecipe.recipe.model import FromScratch

PREFERENCES = ("preference", "unpaired_preference")
"""What tokenization makes of rows that say which answer is better."""


@rule("LR301")
def method_without_data(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with a method has data.

    ## Why is this bad?
    There is nothing to learn from.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe = case.recipe
    if recipe.method is not None and recipe.data is None:
        message = f"`{recipe.method.kind}` has nothing to learn from"
        yield Finding("method.kind", message, "add `data`, or leave out `method` to evaluate, export or serve alone")


@rule("LR302")
def preferences_over_random_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that preference optimization starts from a trained model.

    ## Why is this bad?
    It moves a model away from a reference that must already speak; and the reference is loaded from the base, which
    a model from scratch does not have.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    method = case.recipe.method
    if method is not None and method.objective in PREFERENCES and isinstance(case.recipe.model.base, FromScratch):
        help_ = "train it first, with `pretrain` and `sft`, and start from `{recipe: NAME}`"
        yield Finding("model.base", f"`{method.kind}` over random weights", help_)


@rule("LR303")
def packed_preferences(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that preference rows are not packed.

    ## Why is this bad?
    The loss compares the two answers of one prompt; it has no meaning over a sequence that several rows share.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
      packing: bfd
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
    method: {kind: dpo}
    ```
    """
    method, data = case.recipe.method, case.recipe.data
    if method is None or data is None or method.objective not in PREFERENCES:
        return
    if data.packing not in (None, "none"):
        yield Finding("data.packing", f"`{method.kind}` does not learn from packed rows", "leave out `packing`")


@rule("LR304")
def assistant_loss_without_messages(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `assistant_only_loss` is used with rows of messages.

    ## Why is this bad?
    Other rows have no turns of an assistant; the loss would be over everything.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: sft, assistant_only_loss: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft, assistant_only_loss: true}
    ```
    """
    method, rows = case.recipe.method, row_kind(case.recipe)
    if isinstance(method, SFT) and method.assistant_only_loss and rows not in (None, "messages", "preference"):
        message = f"rows of `{rows}` have no turns of an assistant"
        help_ = "leave it out: the loss is over the completion" if rows == "prompt_completion" else "leave it out"
        yield Finding("method.assistant_only_loss", message, help_)


@rule("LR305", "warning")
def unusual_beta(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `beta` of DPO is not above 1.

    ## Why is this bad?
    The policy is held so close to the reference that it hardly learns. Usual values lie between 0.01 and 0.5.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, beta: 10}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, beta: 0.1}
    ```
    """
    method = case.recipe.method
    if isinstance(method, DPO) and method.beta > 1:
        message = f"a `beta` of {method.beta:g} holds the policy to the reference"
        yield Finding("method.beta", message, "use 0.01 to 0.5")


def _strength(method: Method) -> tuple[str, float, float, float] | None:
    """Where a method says how strongly it holds or prefers, what it says, and the band that is known to work."""
    match method:
        case CPO(loss_type="simpo"):
            return "beta", method.beta, 1.0, 20.0
        case CPO() | ORPO() | KTO():
            return "beta", method.beta, 0.0, 1.0
        case GRPO() | RLOO():
            return "beta", method.beta, 0.0, 0.5
        case PPO():
            return "kl_coef", method.kl_coef, 0.0, 0.5
    return None


@rule("LR396", "warning")
def strength_of_another_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks `beta` and `kl_coef` against what is known to work: 1 and more for SimPO, at most 1 for CPO, ORPO and KTO, at
    most 0.5 for GRPO, RLOO and PPO.

    ## Why is this bad?
    The same letter means other things. SimPO compares mean log-probabilities, which are small, so that a `beta` of DPO
    leaves no gradient; and a policy that learns from rewards hardly moves under a KL of the weight of DPO's.

    Sources: https://arxiv.org/abs/2405.14734, https://arxiv.org/abs/2402.01306, https://arxiv.org/abs/2402.03300

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: cpo, loss_type: simpo, beta: 0.1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: cpo, loss_type: simpo, beta: 2.0}
    ```
    """
    method = case.recipe.method
    found = _strength(method) if method is not None else None
    if method is None or found is None:
        return
    name, value, low, high = found
    if not low <= value <= high:
        what = "SimPO" if isinstance(method, CPO) and method.loss_type == "simpo" else f"`{method.kind}`"
        wanted = f"{low:g} to {high:g}" if low else f"at most {high:g}"
        yield Finding(f"method.{name}", f"a `{name}` of {value:g} is unusual for {what}", f"use {wanted}")
