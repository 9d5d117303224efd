"""A reward model as a reward function: the number that it gives to a prompt with its answer."""

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import TemplateError

from llmrecipe.plan import ModelOrigin
from llmrecipe.stages import loading
from llmrecipe.stages.place import Place, StageError

BATCH_SIZE = 32


class ScoreOfModel:
    """A model with the head `reward`, its own tokenizer and chat template, frozen, on the device of this process."""

    def __init__(self, origin: ModelOrigin, place: Place, trust_remote_code: bool = False) -> None:
        """
        Raises:
            StageError: the model cannot be loaded, or gives more than one number.
        """
        self.tokenizer = loading.tokenizer_of(origin, place, trust_remote_code)
        wanted = loading.Wanted(trust_remote_code=trust_remote_code, head="reward")
        model = loading.pretrained(origin, place, wanted)
        if model.config.num_labels != 1:
            raise StageError(
                f"the reward model gives {model.config.num_labels} numbers to a text, not one",
                "use a model that the method `reward` trained, or another with `num_labels: 1`",
            )
        self.model = model.eval().requires_grad_(False)
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        self.pad = next(token for token in ids if token is not None)
        self.longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def __call__(self, prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
        """The score of each answer [answers].

        Raises:
            StageError: the chat template refuses a conversation, or a text is longer than the model can read.
        """
        self.model.to(loading.device())  # Not before: which one it is, the launcher's library says after loading.
        rows = [self._encode(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        scores: list[float | None] = [0.0] * len(rows)
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            for i, score in zip(batch, self._score([rows[i] for i in batch]), strict=True):
                scores[i] = score
        return scores

    def _encode(self, prompt: Any, completion: Any) -> list[int]:
        """Tokens as the method `reward` trains on them: a string ends with the end of text, a chat as its template."""
        if isinstance(prompt, str):
            end = self.tokenizer.eos_token or ""
            text = prompt + completion
            ids: list[int] = self.tokenizer(text if text.endswith(end) else text + end, verbose=False)["input_ids"]
        else:
            try:
                ids = self.tokenizer.apply_chat_template(
                    prompt + completion, return_dict=True, tokenizer_kwargs={"verbose": False}
                )["input_ids"]
            except (TemplateError, ValueError) as error:
                raise StageError(
                    f"the chat template of the reward model refuses a conversation: {error}",
                    "use a reward model with a chat template that knows these roles",
                ) from error
        if self.longest is not None and len(ids) > self.longest:
            raise StageError(
                f"a prompt with its answer is {len(ids)} tokens, the reward model reads {self.longest}",
                "lower `training.max_length` or `max_completion_length`",
            )
        return ids

    def _score(self, rows: Sequence[list[int]]) -> list[float]:
        """Scores of one batch, each at the last token of its row.

        The classes of Transformers look for the last token that is not padding, and a tokenizer may pad with a token
        that ends texts: so the place is taken from the lengths.
        """
        ids = torch.full((len(rows), max(map(len, rows))), self.pad)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        base = getattr(self.model, self.model.base_model_prefix)
        with torch.inference_mode():
            hidden = base(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(rows), device=hidden.device), mask.sum(1) - 1]
            found: list[float] = self.model.score(last)[:, 0].float().tolist()
        return found
