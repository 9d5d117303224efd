"""Training metrics over HTTP, as the parser of Prometheus' own client reads them."""

import math
import socket
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small
from prometheus_client.parser import text_string_to_metric_families

from llmrecipe.stages import train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.prometheus import CONTENT_TYPE, Exporter
from llmrecipe.watching import Prometheus, Tracking


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def place(folder: Path, run: str = "house-style") -> Place:
    made = small.place(folder, dataset=folder / "data", tokenizer=folder / "tokenizer")
    return Place(made.inputs, made.output, made.work, made.root, name="sft/train", run=folder / run)


def read(text: str) -> dict[str, Any]:
    return {
        family.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == "gauge" and family.documentation
    }


def test_every_number_of_the_log_is_a_gauge_with_its_labels(tmp_path: Path) -> None:
    exporter = Exporter(place(tmp_path))
    state = SimpleNamespace(global_step=30, max_steps=90)
    logs = {"loss": 2.5, "rewards/margins": 0.25, "grad_norm": math.inf, "note": "text", "train_runtime": 3.0}
    exporter.on_log(None, state, None, logs=logs)
    found = read(exporter.text())
    assert set(found) == {f"llmrecipe_train_{name}" for name in (
        "step", "max_steps", "last_log_timestamp_seconds", "loss", "rewards_margins", "grad_norm",
    )}  # fmt: skip
    assert found["llmrecipe_train_loss"].value == 2.5
    assert found["llmrecipe_train_rewards_margins"].value == 0.25
    assert found["llmrecipe_train_grad_norm"].value == math.inf
    assert found["llmrecipe_train_step"].labels == {"run": "house-style", "stage": "sft/train"}


def test_labels_are_escaped(tmp_path: Path) -> None:
    exporter = Exporter(place(tmp_path, 'a "b" \\ c'))
    exporter.on_train_begin(None, SimpleNamespace(global_step=0, max_steps=1), None)
    assert read(exporter.text())["llmrecipe_train_step"].labels["run"] == 'a "b" \\ c'


def test_a_training_answers_while_it_runs_and_not_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.tokenizer().save_pretrained(tmp_path / "tokenizer")
    small.dataset(tmp_path / "data", list(small.packed_rows(20)))
    port, asked = free_port(), []
    on_step_end = TrainingLog.on_step_end

    def asks(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        on_step_end(self, args, state, control, **kwargs)
        if state.global_step == 7:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                asked.append((answer.headers["Content-Type"], answer.read().decode()))
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/")

    monkeypatch.setattr(TrainingLog, "on_step_end", asks)
    tracking = Tracking(prometheus=Prometheus(port=port))
    here = place(tmp_path)
    train.run(small.train_spec(tracking=tracking), here)
    kind, text = asked[0]
    assert kind == CONTENT_TYPE
    found = read(text)
    logged = next(line for line in small.log(here) if line["step"] == 6)
    assert found["llmrecipe_train_loss"].value == logged["loss"]
    assert found["llmrecipe_train_max_steps"].value == 12
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    first, second = Exporter(place(tmp_path / "a")), Exporter(place(tmp_path / "b"))
    first.start(Prometheus(port=free_port()))
    with pytest.raises(StageError, match=f"127.0.0.1:{first.port}: Address already in use") as caught:
        second.start(Prometheus(port=first.port))
    assert "tracking.prometheus.port" in str(caught.value.help)
    first.stop()
