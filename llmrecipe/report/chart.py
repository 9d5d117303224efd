"""Points over steps -> a line chart as SVG, with the values under the pointer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmrecipe.report.html import Html, element, empty, join, number

WIDTH, HEIGHT = 480, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 34
POINTERS = 240
"""Most places at which the pointer finds values."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One curve."""

    label: str
    points: Sequence[Point]
    """(step, value), in the order of the steps; values that are not finite are left out."""


def chart(title: str, curves: Sequence[Series]) -> Html:
    """A figure: the title, the curves, and what they are called when there are several."""
    finite = [Series(curve.label, [p for p in curve.points if math.isfinite(p[1])]) for curve in curves]
    drawn = [curve for curve in finite if curve.points]
    lost = sum(len(curve.points) for curve in curves) - sum(len(curve.points) for curve in drawn)
    caption = [element("b", title)]
    if len(drawn) > 1:
        caption += [element("span", curve.label, class_=f"key s{i}") for i, curve in enumerate(drawn)]
    if lost:
        caption.append(element("span", f"{lost} values are not finite", class_="bad"))
    svg = _svg(title, drawn) if drawn else element("p", "No values.", class_="dim")
    return element("figure", element("figcaption", *caption), svg)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that cover a range: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Steps and values -> places in the picture."""

    x: Point
    y: Point

    def place(self, point: Point) -> Point:
        across = (point[0] - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (point[1] - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _svg(title: str, curves: Sequence[Series]) -> Html:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    pad = (max(ys) - min(ys)) * 0.06 or abs(max(ys)) * 0.1 or 1.0
    low = min(ys) - pad
    frame = _Frame((min(xs), max(xs)), (0.0 if min(ys) >= 0 > low else low, max(ys) + pad))
    parts = [*_axes(frame), *(_curve(frame, curve, i) for i, curve in enumerate(curves)), *_pointers(frame, curves)]
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def _axes(frame: _Frame) -> list[Html]:
    parts = []
    for value in ticks(*frame.y):
        y = round(frame.place((frame.x[0], value))[1], 1)
        parts.append(empty("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", number(value), x=LEFT - 6, y=y + 4, text_anchor="end"))
    for value in ticks(*frame.x):
        x = round(frame.place((value, frame.y[0]))[0], 1)
        parts.append(element("text", number(value), x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    parts.append(element("text", "step", x=WIDTH - RIGHT, y=HEIGHT - 3, text_anchor="end", class_="dim"))
    return parts


def _curve(frame: _Frame, curve: Series, index: int) -> Html:
    places = [frame.place(point) for point in curve.points]
    line = empty("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=f"line s{index}")
    if len(places) > 30:
        return line
    return join(line, *(_dot(place, index, 2.5) for place in places))


def _dot(place: Point, index: int, radius: float) -> Html:
    return empty("circle", cx=f"{place[0]:.1f}", cy=f"{place[1]:.1f}", r=radius, class_=f"dot s{index}")


def _pointers(frame: _Frame, curves: Sequence[Series]) -> list[Html]:
    """Strips as high as the picture; the one under the pointer shows its values."""
    by_step: dict[float, list[tuple[int, float]]] = {}
    for index, curve in enumerate(curves):
        for x, y in curve.points:
            by_step.setdefault(x, []).append((index, y))
    steps = sorted(by_step)
    steps = steps[:: math.ceil(len(steps) / POINTERS)]
    places = [frame.place((step, 0))[0] for step in steps]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    found = []
    for i, step in enumerate(steps):
        values = [f"{curves[index].label} {number(value)}" for index, value in by_step[step]]
        x, width = edges[i], max(edges[i + 1] - edges[i], 0)
        found.append(
            element(
                "g",
                element("title", "\n".join([f"step {number(step)}", *values])),
                empty("rect", x=f"{x:.1f}", y=TOP, width=f"{width:.1f}", height=HEIGHT - TOP - BOTTOM),
                *(_dot(frame.place((step, value)), index, 3.5) for index, value in by_step[step]),
                class_="at",
            )
        )
    return found
