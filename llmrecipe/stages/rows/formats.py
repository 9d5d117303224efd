"""Rows as people write them -> uniform rows; one function per format."""

import difflib
import json
from collections.abc import Callable
from typing import Any, Literal

from llmrecipe.stages.rows.record import Record, Row, kind
from llmrecipe.vocabulary import Format

Turn = dict[str, str]
Spelling = Literal["role and content", "from and value", "either"]

ROLES: dict[str, str] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}
"""Names of roles -> those of chat templates; `human` and `gpt` only where turns are `{from, value}`."""

SHAREGPT_ONLY = ("human", "gpt")


def text(record: Record) -> Row:
    """`text`: a string."""
    return {"text": record.string("text")}


def messages(record: Record) -> Row:
    """`messages`: a list of `{role, content}`."""
    return {"messages": _turns(record, "messages", "role and content")}


def conversations(record: Record) -> Row:
    """`conversations`: a list of `{from, value}`."""
    return {"messages": _turns(record, "conversations", "from and value")}


def instruction(record: Record) -> Row:
    """`instruction`, optional `input`, `output`. The input follows the instruction after an empty line."""
    question = record.string("instruction")
    if record.has("input") and record.get("input") is not None:
        given = record.string("input")
        question = f"{question}\n\n{given}" if given.strip() else question
    return {"messages": [_turn("user", question), _turn("assistant", record.string("output"))]}


def prompt_completion(record: Record) -> Row:
    """`prompt` and `completion`: two strings, or two lists of messages."""
    prompt, completion = _value(record, "prompt"), _value(record, "completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return {"prompt": prompt, "completion": completion}
    prompt = _as_turns(prompt, "user")
    completion = _as_turns(completion, "assistant")
    _check_answer(record, "completion", completion)
    return {"prompt": prompt, "completion": completion}


def preference(record: Record) -> Row:
    """`prompt`, `chosen` and `rejected`: strings or messages.

    Without a prompt, or with conversations that repeat it, the turns that both answers begin with are the prompt.
    `conversations` beside `chosen` and `rejected` is taken as the prompt.
    """
    chosen, rejected = _value(record, "chosen"), _value(record, "rejected")
    column = "prompt" if record.has("prompt") or not record.has("conversations") else "conversations"
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise record.wrong("`chosen` and `rejected` are not both strings or both messages", "write both the same way")
    if isinstance(chosen, list) and isinstance(rejected, list) and _whole(record, column, chosen):
        return _split(record, chosen, rejected)
    if not record.has(column):
        raise record.lacks("prompt")
    prompt = _value(record, column)
    if isinstance(prompt, str) and isinstance(chosen, str):
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    prompt = _as_turns(prompt, "user")
    chosen, rejected = _as_turns(chosen, "assistant"), _as_turns(rejected, "assistant")
    _check_answer(record, "chosen", chosen)
    _check_answer(record, "rejected", rejected)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def prompt(record: Record) -> Row:
    """`prompt`: a string or messages; optional `reference`: a string, any other value becomes its JSON.

    A row without a reference has an empty one.
    """
    asked = _value(record, "prompt")
    if isinstance(asked, list) and asked[-1]["role"] == "assistant":
        name = record.columns.get("prompt", "prompt")
        raise record.wrong(f"`{name}` ends with an answer of the assistant", "leave that answer out")
    return {"prompt": asked, "reference": _reference(record)}


def question(record: Record) -> Row:
    """`question`: a string, what the user of a chat asks; optional `reference`, as in `prompt`."""
    return {"prompt": [_turn("user", record.string("question"))], "reference": _reference(record)}


def _reference(record: Record) -> str:
    value = record.get("reference") if record.has("reference") else None
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def unpaired_preference(record: Record) -> Row:
    """`prompt` and `completion` as in `prompt_completion`, and `label`: whether the completion is a good one."""
    label = record.get("label")
    if not isinstance(label, bool) and label not in (0, 1):
        name = record.columns.get("label", "label")
        raise record.wrong(
            f"`{name}` is {kind(label)}, not a boolean", "write true for a good answer, false for a bad one"
        )
    return prompt_completion(record) | {"label": bool(label)}


FORMATS: dict[Format, Callable[[Record], Row]] = {
    "text": text,
    "messages": messages,
    "conversations": conversations,
    "instruction": instruction,
    "prompt_completion": prompt_completion,
    "preference": preference,
    "unpaired_preference": unpaired_preference,
    "prompt": prompt,
    "question": question,
}


def _whole(record: Record, column: str, answer: list[Turn]) -> bool:
    """Whether an answer is a whole conversation with its prompt, rather than what follows the prompt."""
    return answer[0]["role"] != "assistant" or not record.has(column)


def _split(record: Record, chosen: list[Turn], rejected: list[Turn]) -> Row:
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if shared == 0:
        help_ = "begin both with the same turns, or add a column `prompt`"
        raise record.wrong("`chosen` and `rejected` begin with different turns, so that there is no prompt", help_)
    _check_answer(record, "chosen", chosen[shared:])
    _check_answer(record, "rejected", rejected[shared:])
    return {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _check_answer(record: Record, column: str, turns: list[Turn]) -> None:
    if turns[0]["role"] != "assistant":
        raise record.wrong(
            f"`{column}` begins with a turn of the {turns[0]['role']}, not of the assistant",
            "put what comes before the assistant's answer into the prompt",
        )


def _value(record: Record, column: str) -> Any:
    """A string, or a list of turns; a single turn is a list of one."""
    value = record.get(column)
    return value if isinstance(value, str) else _turns(record, column, "either")


def _as_turns(value: str | list[Turn], role: str) -> list[Turn]:
    return [_turn(role, value)] if isinstance(value, str) else value


def _turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def _turns(record: Record, column: str, spelling: Spelling) -> list[Turn]:
    name = record.columns.get(column, column)
    value = record.get(column)
    items = [value] if spelling == "either" and isinstance(value, dict) else value
    if not isinstance(items, list):
        wanted = "a string or a list of messages" if spelling == "either" else "a list of messages"
        raise record.wrong(f"`{name}` is {kind(value)}, not {wanted}", "correct the row, or choose another `format`")
    if not items:
        raise record.wrong(f"`{name}` is an empty conversation", "leave the row out")
    return [_read_turn(record, f"`{name}`, message {number}", item, spelling) for number, item in enumerate(items, 1)]


def _read_turn(record: Record, where: str, item: Any, spelling: Spelling) -> Turn:
    if not isinstance(item, dict):
        raise record.wrong(f"{where} is {kind(item)}, not an object", 'write `{"role": "user", "content": "..."}`')
    sharegpt = spelling == "from and value" or (spelling == "either" and "from" in item)
    role_key, content_key = ("from", "value") if sharegpt else ("role", "content")
    for key in (role_key, content_key):
        if key not in item:
            raise record.wrong(f"{where} has no `{key}`", _other_spelling(item, sharegpt))
    role, content = item[role_key], item[content_key]
    if not isinstance(role, str) or role not in ROLES or (role in SHAREGPT_ONLY and not sharegpt):
        raise record.wrong(f"{where} has the unknown {role_key} {role!r}", _known_roles(role, sharegpt))
    if not isinstance(content, str):
        raise record.wrong(f"{where}: `{content_key}` is {kind(content)}, not a string", "write it as one string")
    return _turn(ROLES[role], content)


def _other_spelling(item: dict[str, Any], sharegpt: bool) -> str:
    if sharegpt and "role" in item:
        return "these are `{role, content}`: `format: messages`, with `columns` if the column has another name"
    if not sharegpt and "from" in item:
        return "these are `{from, value}`: `format: conversations`, with `columns` if the column has another name"
    keys = "`from` and `value`" if sharegpt else "`role` and `content`"
    return f"a message has {keys}; this has {', '.join(f'`{key}`' for key in item) or 'no keys'}"


def _known_roles(role: object, sharegpt: bool) -> str:
    known = [name for name in ROLES if sharegpt or name not in SHAREGPT_ONLY]
    close = difflib.get_close_matches(str(role).lower(), known, n=1)
    meant = f"did you mean `{close[0]}`? " if close else ""
    if not sharegpt and role in SHAREGPT_ONLY:
        meant = f"did you mean `{ROLES[str(role)]}`? "
    return f"{meant}roles are {', '.join(known)}"
