"""Token ids: beginnings of text, and what the model has embeddings for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.plan import NewModel
from llmrecipe.preflight.check import Finding, check
from llmrecipe.vocabulary import Full

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case


@check("LR271")
def doubled_beginning(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that no sampled row begins with two beginnings of text (BOS).

    ## Why is this bad?
    The data or the chat template writes one and the tokenizer adds another. The model is served with one, and was
    trained on two.

    ## How to mend it
    Take it out of the rows; `format: messages` lets the template alone write it.

    ## Source
    https://github.com/vllm-project/vllm/issues/27515; SFTTrainer of TRL 1.16 trains on rendered text with two.
    """
    begin = case.tokenizer.bos_token_id
    doubled = sum(ids[:2] == [begin, begin] for ids in case.beginnings)
    if begin is not None and doubled:
        yield Finding(
            "data.train",
            f"{doubled} of {len(case.beginnings)} rows begin with {case.tokenizer.bos_token!r} twice",
            "leave it out of the rows, since it is added",
        )


@check("LR272")
def missing_beginning(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that rows begin with the beginning of text (BOS) where the tokenizer puts one before every text.

    ## Why is this bad?
    A chat template of another model writes none, and templates are tokenized without additions. Models that never saw a
    text without it are lost: Gemma 7B has a perplexity of 5.9e9 instead of 3.46.

    ## How to mend it
    Begin the template with `{{ bos_token }}`, or use the one that comes with the model.

    ## Source
    https://github.com/EleutherAI/lm-evaluation-harness/pull/1465
    """
    tokenizer = case.tokenizer
    begin = tokenizer.bos_token_id
    if begin is None or isinstance(case.spec.model, NewModel) or tokenizer("a text").input_ids[:1] != [begin]:
        return
    missing = sum(ids[:1] != [begin] for ids in case.beginnings)
    if missing:
        yield Finding(
            "tokenizer",
            f"{missing} of {len(case.beginnings)} rows do not begin with {tokenizer.bos_token!r}, which the tokenizer "
            "of this model puts before every text",
            "begin the chat template with {{ bos_token }}",
        )


@check("LR273", tier="model")
def tokens_without_an_embedding(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the ids of the tokenizer with the rows of the model's embedding.

    ## Why is this bad?
    An id beyond the last row is an IndexError on a processor, and on a GPU an assertion that says nothing, hours in,
    when the first row with that token comes.

    ## How to mend it
    Use the tokenizer that comes with the model.

    ## Source
    332 tokens on 331 rows: IndexError in Transformers 5.23.
    """
    rows, tokens = case.skeleton.embeddings, len(case.tokenizer)
    if tokens > rows:
        extra = case.tokenizer.convert_ids_to_tokens(list(range(rows, min(tokens, rows + 3))))
        yield Finding(
            "model.base",
            f"the tokenizer has {tokens:,} tokens, the model {rows:,} embeddings: none for "
            f"{', '.join(map(repr, extra))}",
            "use the tokenizer that comes with the model",
        )


@check("LR274", tier="model")
def untrained_token_that_stays_so(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Looks at the embeddings of the special tokens that occur in the sampled rows, where the model is a folder of this
    machine: one that is shorter than a tenth of the others was never trained. With an adapter that trains no embedding
    it stays so.

    ## Why is this bad?
    Base models reserve tokens such as `<|eot_id|>` that they were never trained on. An adapter cannot teach the model
    to read or write them unless their embeddings are trained too.

    ## How to mend it
    Name them in `model.adapter.trainable_token_indices`, add the embedding and the head to `modules_to_save`, or use a
    template whose tokens the model knows.

    ## Source
    https://github.com/huggingface/peft/issues/1300
    """
    adapter = case.spec.adapter
    if isinstance(adapter, Full) or adapter.trainable_token_indices or case.skeleton.trains_embeddings:
        return
    used = set().union(*(row.ids.tolist() for row in case.encoded)) if case.causal else set()
    special = used & case.tokenizer.added_tokens_decoder.keys()
    untrained = case.skeleton.untrained(sorted(special))
    if untrained:
        names = ", ".join(repr(case.tokenizer.convert_ids_to_tokens(token)) for token in untrained)
        yield Finding(
            "model.adapter",
            f"the rows use {names}, whose embedding was never trained, and the adapter does not train it",
            f"write `trainable_token_indices: {untrained}` under `model.adapter`",
        )
