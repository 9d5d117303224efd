"""What somebody would write with TRL to train on tokenized rows: the yardstick for the training stage."""

from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer


def train(model: Any, tokenizer: Any, rows: Dataset, arguments: dict[str, Any]) -> None:
    """Supervised fine-tuning of a model on rows of `input_ids` and `labels`."""
    config = SFTConfig(report_to="none", use_cpu=True, disable_tqdm=True, max_length=None, **arguments)
    SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer).train()
