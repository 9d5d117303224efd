import json
import re
from html.parser import HTMLParser

import pytest
from past_run import EVIL, past_run

from llmrecipe.cli import main
from llmrecipe.report import page, read
from llmrecipe.report.chart import Series, chart, ticks
from llmrecipe.report.html import Html, element, number
from llmrecipe.report.results import _answer
from llmrecipe.store import RunError, Store

VOID = {"meta", "br", "line", "polyline", "circle", "rect"}


class Page(HTMLParser):
    """Tags that were opened, text, and whether every tag was closed by its own end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1:] != ["style"] else ""


def report(tmp_path, *state):
    return page(read(past_run(tmp_path, *state), Store(tmp_path / ".llmrecipe")))


def test_the_page_needs_nothing_but_itself(tmp_path):
    shown = Page(report(tmp_path))
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.tags)
    assert not [value for name, value in shown.attributes if name in ("src", "href") or name.startswith("on")]
    assert "http" not in re.sub("http-equiv", "", report(tmp_path / "again"))


def test_text_of_the_run_is_never_markup(tmp_path):
    text = report(tmp_path)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert") >= 3
    assert EVIL in Page(text).text


@pytest.mark.parametrize("value", [EVIL, '"><b>', "a & b"])
def test_content_and_attributes_are_escaped_but_markup_is_kept(value):
    shown = element("p", value, Html("<i></i>"), title=value, hidden=None)
    parsed = Page(shown)
    assert parsed.tags == ["p", "i"]
    assert parsed.text == value
    assert parsed.attributes == [("title", value)]


def test_metrics_of_the_recipes_stand_side_by_side(tmp_path):
    row = re.search(r"<tr><td>questions/exact_match</td>(.*?)</tr>", report(tmp_path)).group(1)
    assert re.findall(r">([^<]+)<", row) == ["0.0312", "0.953"]


def test_answers_to_one_question_stand_side_by_side(tmp_path):
    text = Page(report(tmp_path)).text
    assert f"What is 4 plus 4?8✗ {EVIL}✓ 8" in text
    assert "10 of 20 questions" in text


def test_every_training_has_its_curves_with_values_under_the_pointer(tmp_path):
    text = report(tmp_path)
    assert text.count("<svg ") == 16
    assert "<title>step 50\ntraining 3.559\nvalidation 3.673</title>" in text
    assert "Warning at step 30: 9 MB are free. To do: make room." in text
    assert "(MFU)" in text
    assert "Memory, GiB" in text


def test_gates_say_whether_they_hold(tmp_path):
    assert "questions/exact_matchat least 0.90.953holds" in Page(report(tmp_path)).text


def test_the_data_report_tells_what_was_dropped_and_why(tmp_path):
    text = Page(report(tmp_path)).text
    assert "12,00011,87411,874120 is an exact duplicate; 6 has fewer than 3 words" in text
    assert "data/rows.jsonl:17" in text


def test_the_first_rows_show_what_is_learned(tmp_path):
    text = report(tmp_path)
    assert '<span class="learn">6 &lt;script' in text
    assert "What is 3 plus 3?&lt;|im_end|&gt;" in text
    assert "train10,680250,10032.6 %0.2 %2,01097.0 %7 no supervised token" in Page(text).text
    assert "7 rows begin twice" in text


def test_lineage_packages_and_recipe_are_there(tmp_path):
    text = Page(report(tmp_path)).text
    assert "chat/tokenize" in text
    assert "torch2.13.0" in text
    assert "kind: pretrain" in text


def test_a_failed_run_says_what_failed_and_shows_what_there_is(tmp_path):
    shown = Page(report(tmp_path, "failed", 3))
    assert "Failed. This page shows what there is." in shown.text
    assert f"base/train: `loss` became nan {EVIL}help: lower it" in shown.text
    assert "step 40" in shown.text
    assert shown.tags.count("svg") == 8


@pytest.mark.parametrize(("status", "words"), [("running", "Not finished"), ("interrupted", "goes on from here")])
@pytest.mark.parametrize("done", [0, 2, 5, 9, 13])
def test_a_run_in_any_state_has_a_page(tmp_path, status, words, done):
    shown = Page(report(tmp_path, status, done))
    assert words in shown.text
    assert f"{done} of 14 stages complete" in shown.text


def test_files_that_are_cut_off_or_damaged_do_not_keep_the_rest_from_the_page(tmp_path):
    folder = past_run(tmp_path)
    for name in ("base/prepare-data/report/report.json", "base/evaluate-questions/samples/samples.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:200])
    log = folder / "base/train/metrics/log.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    text = Page(page(read(folder, Store(tmp_path / ".llmrecipe")))).text
    assert "step 300" in text


def test_the_page_is_the_same_every_time(tmp_path):
    folder, store = past_run(tmp_path), Store(tmp_path / ".llmrecipe")
    assert page(read(folder, store)) == page(read(folder, store))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"summary.json cannot be read"):
        read(tmp_path, Store(tmp_path))
    (tmp_path / "summary.json").write_text(json.dumps({"version": 7}))
    with pytest.raises(RunError, match="not of this version"):
        read(tmp_path, Store(tmp_path))


def test_the_command_writes_the_page_into_the_folder_of_the_run(tmp_path, capsys):
    folder = past_run(tmp_path)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["report", str(folder), "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


def test_the_command_finds_a_half_finished_training_in_the_store(tmp_path):
    folder = past_run(tmp_path, "interrupted", 3)
    assert main(["report", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    assert "last training loss" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_is_a_usage_error(tmp_path, capsys):
    assert main(["report", str(past_run(tmp_path)), "-o", str(tmp_path / "no" / "page.html")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 1
    assert "help: give runs/NAME of a run, or its recipe" in capsys.readouterr().err


def test_values_that_are_not_finite_are_left_out_and_counted():
    drawn = chart("Loss", [Series("training", [(1, 2.0), (2, float("nan")), (3, 1.0)])])
    assert "1 values are not finite" in drawn
    assert "nan" not in drawn


@pytest.mark.parametrize(
    "points", [[], [(1, 1.0)], [(1, 0.0), (1, 0.0)], [(1, 5.0), (2, 5.0)], [(1, 1e30), (2, -1e-30)]]
)
def test_any_points_make_a_chart(points):
    assert "nan" not in chart("x", [Series("y", points)])


def test_a_long_log_keeps_its_curve_and_thins_the_pointers():
    drawn = chart("x", [Series("y", [(step, float(step)) for step in range(5000)])])
    assert drawn.count("<title>") <= 240
    assert drawn.count(",") > 4999


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.1, 0.34, [0.1, 0.15, 0.2, 0.25, 0.3]),
        (3, 3, [3]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low, high, values):
    assert ticks(low, high) == pytest.approx(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1234567, "1,234,567"),
        (20480.0, "20,480"),
        (0.03125, "0.03125"),
        (1.2e-5, "1.2e-05"),
        (5102.37, "5,102.4"),
    ],
)
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text


def test_an_answer_that_was_rewarded_stands_with_its_reward() -> None:
    shown = str(_answer({"answer": "pears: 3", "reward": 0.5, "rewards": {"regex": 0.5}}))
    assert "0.5" in shown
    assert "pears: 3" in shown
