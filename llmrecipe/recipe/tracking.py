"""`tracking`: where training reports, beside its own log."""

from llmrecipe.watching import MLflow, Prometheus, TensorBoard, Tracker, Tracking, Trackio, WandB

__all__ = ["MLflow", "Prometheus", "TensorBoard", "Tracker", "Tracking", "Trackio", "WandB"]
