"""Uniform rows -> token ids and labels, the same as TRL's trainers make of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import numpy as np
from numpy.typing import NDArray

from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows.record import Row

Ids = list[int]
Tokens = NDArray[np.int32]

IGNORED = -100
"""The label of a token that the loss is not over."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as tokens."""

    ids: Tokens
    """[length]"""
    labels: Tokens
    """The ids again, or -100 where the loss is not [length]."""
    words: Tokens | None = None
    """Which word of the row each token belongs to, -1 for none [length]."""
    closed: bool = False
    """Whether the last token ends every row, however short it is cut."""

    def cut(self, length: int) -> "Encoded":
        """The row without what is beyond that many tokens."""
        if len(self.ids) <= length:
            return self
        kept = np.arange(length)
        kept[-1:] = len(self.ids) - 1 if self.closed else length - 1
        words = None if self.words is None else self.words[kept]
        return Encoded(self.ids[kept], self.labels[kept], words, self.closed)

    def columns(self) -> list[Tokens]:
        """Ids, labels, and the words where they are told."""
        return [self.ids, self.labels, *([] if self.words is None else [self.words])]

    def learned(self) -> NDArray[np.bool_]:
        """Which tokens the loss is over [length]. Nothing predicts the first one."""
        learned: NDArray[np.bool_] = self.labels != IGNORED
        learned[:1] = False
        return learned


@dataclass(frozen=True, slots=True)
class Preference:
    """One preference as tokens: the prompt, and what follows it in either answer."""

    prompt: Ids
    chosen: Ids
    rejected: Ids


@dataclass
class Encoder:
    """A tokenizer, and how a set of rows is encoded with it."""

    tokenizer: Any
    loss_on: Literal["all", "completion", "assistant"]
    template: str | None = None
    """Chat template used instead of the tokenizer's own."""
    merged_boundaries: int = 0
    """Rows whose prompt ends otherwise when the answer follows."""

    def causal(self, rows: Sequence[Row]) -> list[Encoded]:
        """Token ids and labels of rows of text, of messages, or of prompts and completions.

        Strings end with the tokenizer's end of text, conversations as the chat template ends them.

        Raises:
            StageError: the chat template refuses a conversation.
        """
        if "text" in rows[0]:
            return [_learn_all(ids) for ids in self._encode([self._ended(row["text"]) for row in rows])]
        if "messages" in rows[0]:
            return self._conversations([row["messages"] for row in rows])
        prompts = self._prompts(rows)
        both = self._encode([self._joined(row, "completion") for row in rows])
        encoded = []
        for prompt, ids in zip(prompts, both):
            known = self._boundary(prompt, ids)
            encoded.append(_learn_all(ids) if self.loss_on == "all" else _learn_from(ids, known))
        return encoded

    def masked(self, rows: Sequence[Row], words: bool) -> list[Encoded]:
        """Rows of text with the tokens that the tokenizer puts around them; special tokens have no label.

        Args:
            words: whether to tell which word each token belongs to.

        Raises:
            StageError: the tokenizer does not know words.
        """
        special = self.tokenizer.all_special_ids
        encoded = self.tokenizer([row["text"] for row in rows], add_special_tokens=True, return_attention_mask=False)
        if words and not self.tokenizer.is_fast:
            raise StageError("this tokenizer does not tell words apart", "leave out `method.whole_word`")
        found = []
        for i, ids in enumerate(encoded["input_ids"]):
            tokens = np.asarray(ids, np.int32)
            labels = np.where(np.isin(tokens, special), IGNORED, tokens).astype(np.int32)
            known = [-1 if word is None else word for word in encoded.word_ids(i)] if words else None
            closed = bool(ids) and ids[-1] in special
            found.append(Encoded(tokens, labels, None if known is None else np.asarray(known, np.int32), closed))
        return found

    def preferences(self, rows: Sequence[Row]) -> list[Preference]:
        """Prompt, chosen and rejected ids.

        Raises:
            StageError: the chat template refuses a conversation.
        """
        prompts = self._prompts(rows)
        chosen = self._encode([self._joined(row, "chosen") for row in rows])
        rejected = self._encode([self._joined(row, "rejected") for row in rows])
        encoded = []
        for prompt, better, worse in zip(prompts, chosen, rejected):
            known = self._boundary(prompt, better, worse)
            encoded.append(Preference(prompt[:known], better[known:], worse[known:]))
        return encoded

    def prompts(self, rows: Sequence[Row]) -> list[Ids]:
        """Prompt ids, with all that stands before an answer.

        Raises:
            StageError: the chat template refuses a conversation.
        """
        return self._prompts(rows)

    def completions(self, rows: Sequence[Row]) -> list[tuple[Ids, Ids]]:
        """Ids of prompts, and of what follows them.

        Raises:
            StageError: the chat template refuses a conversation.
        """
        both = self._encode([self._joined(row, "completion") for row in rows])
        encoded = []
        for prompt, ids in zip(self.prompts(rows), both, strict=True):
            known = self._boundary(prompt, ids)
            encoded.append((prompt[:known], ids[known:]))
        return encoded

    def _conversations(self, conversations: list[Any]) -> list[Encoded]:
        if self.loss_on != "assistant":
            return [_learn_all(ids) for ids in self._encode(conversations)]
        rendered = self._render(conversations, return_assistant_tokens_mask=True)
        return [_learn_marked(ids, marks) for ids, marks in zip(rendered["input_ids"], rendered["assistant_masks"])]

    def _prompts(self, rows: Sequence[Row]) -> list[Ids]:
        prompts = [row["prompt"] for row in rows]
        if isinstance(prompts[0], str):
            return self._encode(prompts)
        return self._render(prompts, add_generation_prompt=True)["input_ids"]  # type: ignore[no-any-return]

    def _joined(self, row: Row, answer: str) -> Any:
        after = row[answer]
        return row["prompt"] + (self._ended(after) if isinstance(after, str) else after)

    def _ended(self, text: str) -> str:
        end: str = self.tokenizer.eos_token
        return text if text.endswith(end) else text + end

    def _encode(self, inputs: list[Any]) -> list[Ids]:
        """Token ids of strings or of conversations."""
        encoded = self.tokenizer(inputs, verbose=False) if isinstance(inputs[0], str) else self._render(inputs)
        return encoded["input_ids"]  # type: ignore[no-any-return]

    def _render(self, conversations: list[Any], **options: bool) -> Any:
        """What the chat template makes of conversations."""
        try:
            return self._template(conversations, **options)
        except jinja2.TemplateError:
            for conversation in conversations:
                try:
                    self._template([conversation], **options)
                except jinja2.TemplateError as error:
                    raise _refused(conversation, error) from None
            raise

    def _template(self, conversations: list[Any], **options: bool) -> Any:
        return self.tokenizer.apply_chat_template(
            conversations,
            chat_template=self.template,
            return_dict=True,
            tokenizer_kwargs={"verbose": False},
            **options,
        )

    def _boundary(self, prompt: Ids, *whole: Ids) -> int:
        """Tokens of the prompt that are there as well when an answer follows; TRL calls the rest part of the answer."""
        shared = min(_common_prefix(prompt, ids) for ids in whole)
        self.merged_boundaries += shared < len(prompt)
        return shared


def _common_prefix(prompt: Ids, ids: Ids) -> int:
    if ids[: len(prompt)] == prompt:
        return len(prompt)
    return next(n for n in range(len(prompt)) if n == len(ids) or ids[n] != prompt[n])


def _learn_all(ids: Ids) -> Encoded:
    tokens = np.array(ids, np.int32)
    return Encoded(tokens, tokens)


def _learn_from(ids: Ids, start: int) -> Encoded:
    tokens = np.array(ids, np.int32)
    labels = tokens.copy()
    labels[:start] = IGNORED
    return Encoded(tokens, labels)


def _learn_marked(ids: Ids, marks: Ids) -> Encoded:
    tokens = np.array(ids, np.int32)
    return Encoded(tokens, np.where(np.array(marks, bool), tokens, np.int32(IGNORED)))


def _refused(conversation: list[dict[str, str]], error: jinja2.TemplateError) -> StageError:
    roles = ", ".join(turn["role"] for turn in conversation[:8])
    beginning = conversation[0]["content"][:80]
    return StageError(
        f"the chat template refuses a conversation of {roles} that begins with {beginning!r}: {error}",
        "drop or correct such rows, or use another `tokenizer.chat_template`",
    )
