"""A run -> one HTML page that needs nothing but itself."""

from llmrecipe.report.data import data
from llmrecipe.report.html import Html, element, empty, join
from llmrecipe.report.overview import environment, head, recipes, stages
from llmrecipe.report.reading import Run, read
from llmrecipe.report.results import results, samples
from llmrecipe.report.style import CSS
from llmrecipe.report.sweep import sweep_parts
from llmrecipe.report.training import training
from llmrecipe.summary import SweepSummary

SECTIONS = (head, results, samples, training, data, stages, environment, recipes)
"""In the order of the page; each gives what it has to say of a run, and nothing when that is nothing."""


def page(run: Run) -> str:
    """The page, as text for a file. All text of the run is escaped."""
    return _page(run.summary.name, [part for section in SECTIONS for part in section(run)])


def sweep_page(sweep: SweepSummary) -> str:
    """The page of a sweep, as text for a file."""
    return _page(sweep.name, sweep_parts(sweep))


def _page(name: str, parts: list[Html]) -> str:
    title = f"{name} – llmrecipe report"
    meta = (
        empty("meta", charset="utf-8"),
        empty("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        empty("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
    )
    body = element("main", *parts)
    head_ = element("head", *meta, element("title", title), element("style", Html(CSS)))
    return f"<!DOCTYPE html>\n{element('html', join(head_, element('body', body)), lang='en')}\n"


__all__ = ["Run", "page", "read", "sweep_page"]
