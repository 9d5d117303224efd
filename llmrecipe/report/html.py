"""Elements of a page: text becomes HTML in one place, so that nothing of a run is ever read as markup."""

from collections.abc import Sequence
from html import escape


class Html(str):
    """Text that is markup already."""


Content = str | int | float | None
"""What stands in an element: text of the run, which is escaped, or `Html`."""


def element(name: str, *content: Content, **attributes: Content) -> Html:
    """`<name attribute="value">content</name>`; attributes that are None are left out, `class_` is `class`."""
    return Html(f"<{_opening(name, attributes)}>{join(*content)}</{name}>")


def empty(name: str, **attributes: Content) -> Html:
    """`<name attribute="value"/>`."""
    return Html(f"<{_opening(name, attributes)}/>")


def join(*content: Content) -> Html:
    """One after another."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in content if part is not None))


def _opening(name: str, attributes: dict[str, Content]) -> str:
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    return " ".join([name, *(f'{key}="{escape(str(value))}"' for key, value in given)])


def table(head: Sequence[Content], rows: Sequence[Sequence[Content]], numbers: int = 0) -> Html:
    """A table that scrolls by itself when it is too wide; from column `numbers` on (0: none) cells are figures."""

    def row(cells: Sequence[Content], name: str) -> Html:
        return element(
            "tr",
            *(element(name, cell, class_="n" if numbers and i >= numbers else None) for i, cell in enumerate(cells)),
        )

    body = element("tbody", *(row(cells, "td") for cells in rows))
    return element("div", element("table", element("thead", row(head, "th")), body), class_="scroll")


def number(value: float | int | None) -> str:
    """A figure as people read it: 1,234,567 or 0.0123 or 1.2e-05."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share between 0 and 1 in per cent, one digit behind the point."""
    return f"{100 * share:.1f} %"
