"""What must hold of the lines of a running stage, however the last attempt ended."""

from llmrecipe.processes import Events


def test_only_whole_lines_that_are_new_are_told(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"done": 1}\n')
    events = Events(tmp_path)
    assert list(events.new()) == []
    with file.open("a") as out:
        out.write('{"done": 2}\n{"do')
        out.flush()
        assert list(events.new()) == [{"done": 2}]
        out.write('ne": 3}\n')
    assert list(events.new()) == [{"done": 3}]


def test_a_line_that_a_killed_process_left_half_is_passed_over(tmp_path):
    events = Events(tmp_path)
    (tmp_path / "events.jsonl").write_text('{"do{"done": 2}\n{"done": 3}\n')
    assert list(events.new()) == [{"done": 3}]


def test_a_stage_without_events_has_none(tmp_path):
    assert list(Events(tmp_path).new()) == []
