"""A conversation with a model in the terminal: `python -m llmrecipe.stages.chat FOLDER`, in a process of its own."""

import argparse
import copy
import readline  # noqa: F401  (gives `input` its line editing and history)
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation import BaseStreamer
from transformers.utils import logging

Message = dict[str, str]

COMMANDS = """/reset         forget the conversation
/system TEXT   tell the model who it is; without TEXT, no more
/exit          leave (or Ctrl-D); Ctrl-C stops an answer"""


class TooLongError(ValueError):
    """A question that leaves no room for an answer."""


class Answer(BaseStreamer):  # type: ignore[misc]
    """Writes an answer while it is made, token by token, and keeps its text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.tokens: list[int] | None = None
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        """Take token ids [length] or [1, length]; the first ones are the prompt."""
        if self.tokens is None:
            self.tokens = []
            return
        self.tokens += value.flatten().tolist()
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[len(self.text) :], end="", flush=True)
            self.text = text

    def end(self) -> None:
        """The answer is complete."""
        print(flush=True)


@dataclass
class Conversation:
    """A model, what was said to it, and how it answers."""

    model: Any
    tokenizer: Any
    system: str | None
    temperature: float
    max_new_tokens: int
    turns: list[Message] = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Print the answer while it is made, and remember both. Ctrl-C keeps what was said so far.

        Raises:
            TooLongError: the question alone fills the context of the model.
            TemplateError: the chat template refuses the conversation.
        """
        self.turns.append({"role": "user", "content": question})
        answer = Answer(self.tokenizer)
        try:
            ids = self._fit()
            room = self.context - ids.shape[1]
            self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._generation(min(self.max_new_tokens, room)),
                streamer=answer,
            )
        except (TooLongError, TemplateError):
            self.turns.pop()
            raise
        except KeyboardInterrupt:
            print(flush=True)
        self.turns.append({"role": "assistant", "content": answer.text})

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**20

    def _fit(self) -> torch.Tensor:
        """Token ids of the conversation [1, length]; the oldest turns are forgotten until an answer has room."""
        reserved = min(self.max_new_tokens, self.context // 4)
        while (ids := self._ids()).shape[1] + reserved > self.context:
            if len(self.turns) == 1:
                most = self.context - reserved
                raise TooLongError(f"this is {ids.shape[1]} tokens; the model takes {most} and an answer of {reserved}")
            del self.turns[:2]
            note("the oldest turn no longer fits into the model's context and is forgotten")
        return ids.to(self.model.device)

    def _ids(self) -> torch.Tensor:
        if self.tokenizer.chat_template is None:
            return self.tokenizer(self.turns[-1]["content"], return_tensors="pt").input_ids
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.tokenizer.apply_chat_template(
            [*system, *self.turns], add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).input_ids

    def _generation(self, max_new_tokens: int) -> GenerationConfig:
        """The model's own stop tokens, greedy unless there is a temperature."""
        config = copy.deepcopy(self.model.generation_config)
        config.max_new_tokens, config.max_length = max_new_tokens, None
        config.do_sample = self.temperature > 0
        config.temperature = self.temperature or None
        if not config.do_sample:
            config.top_k = config.top_p = config.min_p = None
        if config.pad_token_id is None:
            config.pad_token_id = self.tokenizer.pad_token_id
        return config


def note(text: str) -> None:
    """Tell the person something that no model said."""
    print(f"({text})", file=sys.stderr, flush=True)


def load(folder: Path) -> tuple[Any, Any]:
    """The model, in the type of its weights and on the accelerator if there is one, and its tokenizer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def questions(terminal: bool) -> Iterator[str]:
    """Lines of the person, or of standard input, until there are no more."""
    while True:
        try:
            line = input("\n> " if terminal else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            note("Ctrl-D leaves")
            continue
        if line == "/exit":
            return
        if line:
            yield line


def answer(conversation: Conversation, line: str) -> None:
    """Obey a command or answer a question."""
    command, _, rest = line.partition(" ")
    if command == "/reset":
        conversation.turns.clear()
        note("a new conversation")
    elif command == "/system":
        conversation.system = rest.strip() or None
        note("the model is told so from now on" if rest.strip() else "no system message")
    elif command.startswith("/"):
        print(COMMANDS, file=sys.stderr)
    else:
        try:
            conversation.ask(line)
        except TooLongError as error:
            note(str(error))
        except TemplateError as error:
            note(f"the model's chat template refuses this conversation: {error}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of the process; `llmrecipe chat` is what people call."""
    parser = argparse.ArgumentParser(prog="llmrecipe chat")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--once")
    parser.add_argument("--system")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-new-tokens", type=int, default=512)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Talk until the person leaves."""
    arguments = parse(argv)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Whoever reads the answers may stop reading.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, tokenizer = load(arguments.folder)
    conversation = Conversation(model, tokenizer, arguments.system, arguments.temperature, arguments.max_new_tokens)
    if arguments.once is not None:
        answer(conversation, arguments.once)
        return 0
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        print(f"{arguments.name}: {model.num_parameters():,} parameters on {model.device.type}\n{COMMANDS}")
        if tokenizer.chat_template is None:
            note("this model has no chat template: it continues your text")
    for line in questions(terminal):
        answer(conversation, line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
