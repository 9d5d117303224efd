"""Questions of a generation suite, and the answers of a model to them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import GenerationConfig, StoppingCriteriaList

from llmrecipe.plan import DataSource, GenerationSuite, RewardSuite
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.mixture import choose
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.rows.sources import read_source
from llmrecipe.stages.stopping import StopStrings, cut, stop_tokens


@dataclass(frozen=True)
class Question:
    """What the model is asked, and what it should say."""

    prompt: str | list[dict[str, str]]
    reference: str
    ids: list[int]
    """The prompt as the model sees it."""


def questions(sources: Sequence[DataSource], root: Path, tokenizer: Any) -> list[Question]:
    """All questions of the sources in their order; `max_samples` of a source are chosen by its rows alone.

    Raises:
        StageError: a row has no answer, the tokenizer has no chat template for messages, or there is no row.
    """
    return [_question(row, where, tokenizer) for where, row in chosen_rows(sources, root)]


def chosen_rows(sources: Sequence[DataSource], root: Path) -> list[tuple[str, Row]]:
    """Where each row of the sources stands and the row, in their order; `max_samples` of a source are chosen.

    Raises:
        StageError: there is no row.
    """
    found = [list(read_source(source, root)) for source in sources]
    unweighted = [source.model_copy(update={"weight": None}) for source in sources]
    chosen = choose([len(rows) for rows in found], unweighted, "first_exhausted", seed=0)
    taken = [rows[i] for rows, passes in zip(found, chosen, strict=True) for indices in passes for i in indices]
    if not taken:
        raise StageError("the suite has no questions", "add rows to its `sources`")
    return taken


def _question(row: Row, where: str, tokenizer: Any) -> Question:
    prompt, completion = row.get("prompt"), row.get("completion")
    if "messages" in row:
        prompt, completion = row["messages"][:-1], row["messages"][-1:]
        if not prompt or completion[0]["role"] != "assistant":
            raise StageError(
                f"{where}: the conversation does not end with an answer of the assistant",
                "the last turn of a row is the reference answer",
            )
    if prompt is None or completion is None:
        raise StageError(
            f"{where}: the row has no question with an answer",
            "use the format `prompt_completion`, `messages` or `instruction` for a generation suite",
        )
    if isinstance(prompt, str):
        return Question(prompt, completion, tokenizer(prompt)["input_ids"])
    reference = "\n".join(turn["content"] for turn in completion)
    return Question(prompt, reference, rendered(prompt, where, tokenizer))


def rendered(messages: list[dict[str, str]], where: str, tokenizer: Any) -> list[int]:
    """Messages as the model sees them before it answers.

    Raises:
        StageError: there is no chat template, or it refuses them.
    """
    if tokenizer.chat_template is None:
        raise StageError(
            f"{where}: the tokenizer has no chat template for messages",
            "set `tokenizer.chat_template`, or write the questions as `prompt_completion` strings",
        )
    try:
        ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    except TemplateError as error:
        raise StageError(f"{where}: the chat template refuses the conversation: {error}", "change the row") from error
    return ids


def answers(model: Any, tokenizer: Any, asked: Sequence[Question], suite: GenerationSuite, place: Place) -> list[str]:
    """The greedy answer to each question, without special tokens, cut before the first stop string, stripped.

    Raises:
        StageError: a question leaves no room for an answer.
    """
    made = completions(model, tokenizer, asked, suite, place)
    return [cut(text, suite.stop).strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]


def completions(
    model: Any, tokenizer: Any, asked: Sequence[Question], suite: GenerationSuite | RewardSuite, place: Place
) -> list[list[int]]:
    """The tokens of the greedy answer to each question, with the one that ends it.

    Raises:
        StageError: a question leaves no room for an answer.
    """
    _check_lengths(model, asked, suite.max_new_tokens)
    generation = _greedy(model, tokenizer, suite.max_new_tokens)
    stop = suite.stop if isinstance(suite, GenerationSuite) else []
    # Questions of similar length share a batch, so that little of it is padding.
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].ids))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), suite.batch_size):
        batch = order[start : start + suite.batch_size]
        rows = _generate(model, tokenizer, [asked[i].ids for i in batch], generation, stop)
        found |= dict(zip(batch, rows, strict=True))
        place.event(event="progress", done=len(found), total=len(asked), unit="answers")
    return [found[i] for i in range(len(asked))]


def _check_lengths(model: Any, asked: Sequence[Question], max_new_tokens: int) -> None:
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(question.ids) for question in asked)
    if most is not None and longest + max_new_tokens > most:
        raise StageError(
            f"the longest question is {longest} tokens; with an answer of {max_new_tokens} it does not fit into the "
            f"{most} positions of the model",
            "lower `max_new_tokens` of the suite, or leave out long questions",
        )


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy decoding whatever the model's own configuration says about sampling."""
    ends = stop_tokens(tokenizer, model)
    pad = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    return GenerationConfig(
        do_sample=False, use_cache=True, max_new_tokens=max_new_tokens, eos_token_id=ends or None, pad_token_id=pad
    )


def _generate(
    model: Any, tokenizer: Any, prompts: list[list[int]], generation: GenerationConfig, stop: list[str]
) -> list[list[int]]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), generation.pad_token_id)
    mask = torch.zeros_like(ids)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    criteria = StoppingCriteriaList([StopStrings(tokenizer, stop, width)] if stop else [])
    made = model.generate(
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=copy.copy(generation),
        stopping_criteria=criteria,
    )
    return [_ended(row, generation.eos_token_id or []) for row in made[:, width:].tolist()]


def _ended(ids: list[int], ends: list[int]) -> list[int]:
    """The tokens up to the first one that ends an answer."""
    end = next((i for i, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: end + 1]
