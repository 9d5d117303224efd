"""Training metrics over HTTP in the text format of Prometheus, by the standard library alone."""

import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from transformers import TrainerCallback

from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.callbacks import UNLOGGED
from llmrecipe.watching import Prometheus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "llmrecipe_train_"
HELP = {
    "step": "Optimizer steps so far.",
    "max_steps": "Optimizer steps in all.",
    "last_log_timestamp_seconds": "When the metrics were measured.",
    "loss": "Loss of the training batches since the last log.",
    "eval_loss": "Loss of the validation rows.",
    "learning_rate": "Learning rate of the last step.",
    "grad_norm": "Norm of the gradient before clipping.",
    "entropy": "Entropy of the model, nats per token.",
    "tokens_per_second": "Tokens without padding, over all processes.",
    "mfu": "Share of the peak of the accelerators.",
    "memory_gib": "Peak memory of the device, or resident memory on a processor.",
    "data_loading_share": "Share of the time in which batches were waited for.",
}
"""What is said of a metric; the others have their name in the log."""


class Exporter(TrainerCallback):  # type: ignore[misc]
    """Keeps the newest value of everything that is logged, and answers `GET /metrics` with it."""

    def __init__(self, place: Place) -> None:
        run = place.run.name if place.run is not None else place.name.partition("/")[0]
        self.labels = {"run": run, "stage": place.name}
        self.values: dict[str, float] = {}
        self._server: ThreadingHTTPServer | None = None

    def start(self, settings: Prometheus) -> None:
        """Listen, in a thread.

        Raises:
            StageError: the port is taken, or may not be listened at.
        """
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == "/metrics"
                body = exporter.text().encode() if found else b"metrics are at /metrics\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the log of the stage is about training."""

        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), Handler)
        except OSError as error:
            raise StageError(
                f"metrics cannot be served at {settings.host}:{settings.port}: {error.strerror}",
                "choose another `tracking.prometheus.port`",
            ) from error
        threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def port(self) -> int:
        """The port that is listened at."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._count(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._count(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Take over the numbers of a line of the log."""
        self._count(state)
        self.values["last_log_timestamp_seconds"] = time.time()
        for name, value in logs.items():
            if isinstance(value, int | float) and name not in UNLOGGED:
                self.values[name] = float(value)

    def _count(self, state: Any) -> None:
        self.values |= {"step": float(state.global_step), "max_steps": float(state.max_steps)}

    def text(self) -> str:
        """All metrics. Source: https://prometheus.io/docs/instrumenting/exposition_formats/"""
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in self.labels.items())
        lines = []
        for name, value in dict(self.values).items():
            metric = PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", name)
            help_ = HELP.get(name, f"`{name}` of the training log.").replace("\\", "\\\\").replace("\n", "\\n")
            lines += [f"# HELP {metric} {help_}", f"# TYPE {metric} gauge", f"{metric}{{{labels}}} {_number(value)}"]
        return "".join(line + "\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
