"""`tracking`: where training reports, beside its own log."""

from llmrecipe.watching import MLflow, Prometheus, TensorBoard, Tracker, Trackio, Tracking, WandB

__all__ = ["MLflow", "Prometheus", "TensorBoard", "Tracker", "Trackio", "Tracking", "WandB"]
