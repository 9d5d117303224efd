"""An unknown key or kind -> what was probably meant."""

import difflib
from collections.abc import Sequence

from llmrecipe.mending import nearest
from llmrecipe.schema import Section
from llmrecipe.source import Path
from llmrecipe.validate.foreign import KEYS, KINDS
from llmrecipe.validate.language import Alternatives, dotted, owners
from llmrecipe.validate.words import listed

_LOOSE = ("schedule", "optimizer", "adapter", "train", "validation", "beta1", "target_modules", "best", "averaging")
"""Keys for which other tools write other values, so that a new name alone does not mend the entry."""

_MANY = 14  # keys that are worth listing


def key_message(path: Path, section: type[Section], kind: str | None) -> str:
    """What is wrong with an unknown key."""
    *above, key = path
    where = f"`{dotted(tuple(above))}`" if above else "a recipe"
    of_kind = f" of kind `{kind}`" if kind else ""
    return f"`{key}` is not a key of {where}{of_kind}"


def key_help(path: Path, section: type[Section], siblings: Alternatives) -> str:
    """What to write instead of an unknown key: the same for another kind, a near name, or where it belongs."""
    *above, last = path
    key, here = str(last), _pattern(tuple(above))
    others = [sibling.kind for sibling in siblings if sibling.section and key in sibling.section.model_fields]
    if others:
        return (
            f"{listed(others, 'and')} {'has' if len(others) == 1 else 'have'} it; write that `kind`, or remove the key"
        )
    homes = [home for home in owners().get(key, []) if home != here]
    known = KEYS.get(key) or KEYS.get(key.lower().replace("-", "_"))
    names = [name for name in section.model_fields if name != "kind"]
    near = difflib.get_close_matches(key.lower(), section.model_fields, 1, 0.75)
    if known and _home(known) == here:
        return f"did you mean `{known.rpartition('.')[2]}`?"
    if near:
        return f"did you mean `{near[0]}`?"
    if homes:
        return _belongs(key, homes)
    if known:
        return known if " " in known else f"write `{known}`"
    return _far(key, here, names)


def renamed(path: Path, section: type[Section], siblings: Alternatives) -> tuple[str, bool] | None:
    """The name that an unknown key should have in its section, and whether nothing else can be meant."""
    *above, last = path
    key, here = str(last), _pattern(tuple(above))
    if any(sibling.section and key in sibling.section.model_fields for sibling in siblings):
        return None
    known = KEYS.get(key) or KEYS.get(key.lower().replace("-", "_"))
    if known and _home(known) == here:
        name = known.rpartition(".")[2]
        return (name, name not in _LOOSE) if name in section.model_fields else None
    near, sure = nearest(key.lower().replace("-", "_"), section.model_fields)
    return (near, sure) if near else None


def _belongs(key: str, homes: Sequence[str]) -> str:
    if "" in homes:
        return f"`{key}` belongs to the top of the recipe; check its indentation"
    return f"`{key}` belongs to {listed(homes[:3])}"


def _far(key: str, here: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), owners(), 1, 0.85)
    if near:
        homes = [home for home in owners()[near[0]] if home != here]
        return f"did you mean {listed([f'{home}.{near[0]}' if home else near[0] for home in homes[:3]])}?"
    if not names:
        return "remove it; there is nothing else to say here"
    if len(names) <= _MANY:
        return f"its keys: {', '.join(f'`{name}`' for name in names)}"
    return f"remove it, or see `llmrecipe explain {here}`"


def kind_help(kind: object, allowed: Sequence[str]) -> str:
    """What to write instead of an unknown kind."""
    text = str(kind).lower()
    meant = KINDS.get(text) or text.replace("-", "_")
    near = [meant] if meant in allowed else difflib.get_close_matches(text, allowed, 1)
    return f"did you mean `{near[0]}`?" if near else f"write {listed(allowed)}"


def _home(path: str) -> str:
    return path.rpartition(".")[0]


def _pattern(path: Path) -> str:
    """A path with `[]` for every item of a list."""
    return dotted(path) if not any(isinstance(part, int) for part in path) else _without_numbers(path)


def _without_numbers(path: Path) -> str:
    text = ""
    for part in path:
        text += "[]" if isinstance(part, int) else f".{part}" if text else part
    return text
