"""Plain data -> YAML that every reader understands alike: block style, no aliases, keys as they were built."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

_READ_DIFFERENTLY = re.compile(
    r"""(?: [yYnN]                                        # a boolean in YAML 1.1
          | [-+]?[0-9][0-9_]*(?:\.[0-9]*)?[eE][-+]?[0-9]+ # a number in YAML 1.2: 1e5
          | [-+]?0o?[0-7]+                                # octal in 1.1, or in 1.2
        )\Z""",
    re.VERBOSE,
)
"""Plain texts that PyYAML leaves bare and some other reader takes for something else."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if "\n" in value:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    if _READ_DIFFERENTLY.match(value):
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'")
    return dumper.represent_scalar("tag:yaml.org,2002:str", value)


_Dumper.add_representer(str, _text)


def yaml_text(documents: Sequence[Any], comment: str) -> str:
    """One file of one or more documents under a comment."""
    bodies = [
        yaml.dump(item, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20, default_flow_style=False)
        for item in documents
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines()) + "---\n".join(bodies)
