"""What ends an answer: tokens of the tokenizer, of the chat template and of the model, and strings."""

from typing import Any

import torch
from transformers import StoppingCriteria

_CONTENT = "An answer."


def stop_tokens(tokenizer: Any, model: Any) -> list[int]:
    """Ids that end an answer: the tokenizer's end, the token with which the template ends a turn, the model's own."""
    own = model.generation_config.eos_token_id
    found = [tokenizer.eos_token_id, end_of_turn(tokenizer), *(own if isinstance(own, list) else [own])]
    return list(dict.fromkeys(token for token in found if token is not None))


def end_of_turn(tokenizer: Any) -> int | None:
    """The added token that follows the content of an assistant's turn; None without a template or such a token."""
    if tokenizer.chat_template is None:
        return None
    turns = [{"role": "user", "content": "A question."}, {"role": "assistant", "content": _CONTENT}]
    _, found, rest = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_CONTENT)
    if not found:
        return None
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    first = min((token for token in added if token in rest), key=rest.index, default=None)
    return None if first is None else added[first]


class StopStrings(StoppingCriteria):  # type: ignore[misc]
    """Ends a sequence once its answer holds one of the strings."""

    def __init__(self, tokenizer: Any, strings: list[str], prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.strings = strings
        self.prompt_length = prompt_length
        # A character is at most four bytes, and a token at least one.
        self.tail = 4 * max(map(len, strings)) + 4

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Whether each of the sequences [batch, length] is done [batch]."""
        tails = input_ids[:, max(self.prompt_length, input_ids.shape[1] - self.tail) :]
        texts = self.tokenizer.batch_decode(tails, skip_special_tokens=True)
        return torch.tensor([any(s in text for s in self.strings) for text in texts], device=input_ids.device)


def cut(text: str, strings: list[str]) -> str:
    """The text before the first of the strings."""
    return text[: min((at for s in strings if (at := text.find(s)) >= 0), default=len(text))]
