"""LR2: what the tokenizer of a published model cannot do with the rows of a recipe."""

from collections.abc import Iterator

from llmrecipe.facts import TokenizerFacts, tokenizers
from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.lint.sources import training_sources
from llmrecipe.methods.sft import SFT
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.tokenizer import Reuse

CONVERSATIONS = ("messages", "conversations", "instruction", "question")
"""Formats whose rows are always rendered by a chat template."""


def _known(recipe: Recipe) -> TokenizerFacts | None:
    """What is known of the tokenizer that the recipe reuses."""
    base = recipe.model.base
    reused = isinstance(recipe.tokenizer, Reuse) and isinstance(base, str)
    return tokenizers().get(base) if reused and isinstance(base, str) else None


def _template(recipe: Recipe) -> str | None:
    """The chat template that the recipe writes over that of the tokenizer."""
    return recipe.tokenizer.chat_template if isinstance(recipe.tokenizer, Reuse) else None


def _conversations(recipe: Recipe) -> str | None:
    """Where the first training source with conversations says so."""
    sources = training_sources(recipe) if recipe.method is not None else []
    return next((at for at, source in sources if source.format in CONVERSATIONS), None)


@rule("LR258")
def conversations_without_a_template(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that rows which are conversations meet a chat template: that of the tokenizer, where it is known to bring
    one, or one that the recipe writes.

    ## Why is this bad?
    Base models often come without one, and the run stops when the first row is to be tokenized. Source: the
    tokenizer_config.json of the models; https://huggingface.co/docs/transformers/chat_templating

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M}
    tokenizer: {kind: reuse, chat_template: chatml}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe, known, at = case.recipe, _known(case.recipe), _conversations(case.recipe)
    if known is None or known.chat_template or at is None or _template(recipe) is not None:
        return
    message = f"the tokenizer of {recipe.model.base} has no chat template, and the rows are conversations"
    if known.chatml:
        section = {"kind": "reuse", "chat_template": "chatml"}
        help_ = "write `tokenizer: {kind: reuse, chat_template: chatml}`, whose tokens it has"
        yield Finding(f"{at}.format", message, help_, fix=Put("tokenizer", section), safe=False)
    else:
        help_ = (
            f"give one that ends turns with a token it has, such as {known.end}: `tokenizer: {{kind: reuse, "
            "chat_template: turns.jinja}`, or start from the chat variant of the model"
        )
        yield Finding(f"{at}.format", message, help_)


@rule("LR259")
def turns_that_end_with_no_token(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `chatml` is written for tokenizers that have `<|im_start|>` and `<|im_end|>`.

    ## Why is this bad?
    They would be spelled in pieces that mean nothing to the model, and no single token would end its turn: it never
    learns to stop. The run stops before it trains. Source: https://github.com/hiyouga/LLaMA-Factory/issues/7454

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B-Instruct}
    tokenizer: {kind: reuse, chat_template: chatml}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe, known = case.recipe, _known(case.recipe)
    if known is None or known.chatml or _template(recipe) != "chatml":
        return
    message = f"`chatml` ends turns with <|im_end|>, which is no token of {recipe.model.base}"
    end = known.end_of_turn or known.end
    help_ = (
        f"leave it out: its own template ends turns with {end}"
        if known.chat_template
        else f"write a template that ends turns with {end}"
    )
    yield Finding("tokenizer.chat_template", message, help_)


@rule("LR260")
def turns_that_nobody_marks(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `assistant_only_loss` meets a chat template that tells the assistant's tokens apart: by its own marks
    (`{% generation %}`), or in the variant that TRL knows of it.

    ## Why is this bad?
    Most published templates have no marks. TRL has variants for many of them, but not for those of Llama 3.1 to 3.3,
    Mistral or SmolLM2; the run stops when it tokenizes. Source: `get_training_chat_template` of TRL 1.16

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-360M-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft, assistant_only_loss: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-360M-Instruct}
    tokenizer: {kind: reuse, chat_template: chatml}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft, assistant_only_loss: true}
    ```
    """
    recipe, known = case.recipe, _known(case.recipe)
    asked = isinstance(recipe.method, SFT) and recipe.method.assistant_only_loss
    if known is None or known.turns_marked is not False or not asked or _template(recipe) is not None:
        return
    help_ = (
        "write `tokenizer: {kind: reuse, chat_template: chatml}`, which marks them"
        if known.chatml
        else "write a template of your own that marks them with {% generation %}, or leave `assistant_only_loss` out"
    )
    message = f"the chat template of {recipe.model.base} does not mark the assistant's turns, and TRL has no variant"
    yield Finding("method.assistant_only_loss", message, help_)


@rule("LR261", "warning")
def template_without_a_beginning(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a chat template of your own begins with `bos_token` where the tokenizer puts a beginning of text before
    every text.

    ## Why is this bad?
    Nothing else adds it to a conversation. Models that were always trained with it, such as Llama and Gemma, lose much
    without: the perplexity of Gemma 7B rose from 3.5 to 10^9. Source:
    https://github.com/EleutherAI/lm-evaluation-harness/pull/1465

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B}
    tokenizer: {kind: reuse, chat_template: plain.jinja}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B}
    tokenizer: {kind: reuse, chat_template: turns.jinja}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe, known, written = case.recipe, _known(case.recipe), _template(case.recipe)
    if known is None or not known.begins or written in (None, "chatml"):
        return
    assert written is not None
    for file in local.files(written, case.folder("tokenizer.chat_template")):
        text = local.text(str(file))
        if text and "bos_token" not in text and "<|begin_of_text|>" not in text and "<bos>" not in text:
            message = f"{recipe.model.base} begins every text with a token of its own, and this template has none"
            yield Finding("tokenizer.chat_template", message, "begin it with {{ bos_token }}")
