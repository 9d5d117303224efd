"""What somebody would write with TRL for the whole of it: read messages, split, tokenize, train.

    accelerate launch --config_file CONFIG benchmarks/handwritten_pipeline.py MODEL MESSAGES.jsonl OUTPUT

Writes the time of the end of the first step to OUTPUT/first_step.
"""

import sys
import time
from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class FirstStep(TrainerCallback):  # type: ignore[misc]
    """Notes when the first step has ended, and stops."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.file.write_text(str(time.time()), encoding="utf-8")
        control.should_training_stop = True


def main(model: str, messages: str, output: str) -> None:
    rows = load_dataset("json", data_files=messages, split="train", cache_dir=f"{output}/cache")
    parts = rows.train_test_split(test_size=0.05, seed=42)
    config = SFTConfig(
        output_dir=output, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_length=128,
        activation_checkpointing=False, per_device_train_batch_size=8, max_steps=4, save_strategy="no",
    )  # fmt: skip
    SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=config,
        train_dataset=parts["train"],
        eval_dataset=parts["test"],
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[FirstStep(Path(output) / "first_step")],
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
