"""Preferences as token ids in trainers that expect texts: mixins before the class of a trainer, by its import path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from trl.trainer.reward_trainer import DataCollatorForPreference

Examples = Sequence[Mapping[str, Any]]


class WholeAnswers:
    """For `RewardTrainer`: a score is one of the prompt and its answer together."""

    def __init__(self, *args: Any, processing_class: Any, **options: Any) -> None:
        if processing_class.pad_token_id is None:
            processing_class.pad_token = processing_class.eos_token
        super().__init__(  # type: ignore[call-arg]
            *args,
            processing_class=processing_class,
            data_collator=WholeAnswerCollator(processing_class.pad_token_id),
            **options,
        )


class WholeAnswerCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's, over prompts with their answers."""

    def torch_call(self, examples: Examples) -> dict[str, Any]:
        """`input_ids` and `attention_mask` [2 x rows, longest]: first the chosen, then the rejected answers."""
        parts = ("chosen_ids", "rejected_ids")
        whole = [{part: example["prompt_ids"] + example[part] for part in parts} for example in examples]
        batch: dict[str, Any] = super().torch_call(whole)
        return batch


class StoredReference:
    """For `DPOTrainer` and `KTOTrainer`: what the reference says is kept beside the checkpoints, not in the input."""

    args: Any

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        folder = Path(self.args.output_dir).parent
        dataset._get_cache_file_path = lambda fingerprint: str(folder / f"reference-{name}-{fingerprint}.arrow")
        return super()._precompute_ref_logps(dataset, name, batch_size)  # type: ignore[misc]


class MismatchedAnswers:
    """For `KTOTrainer`: mixes the rows once, and gives each prompt the answer to another one of its batch.

    The KL is estimated from these: of (x1, y1), ..., (xn, yn) come (x1, yn), (x2, y1), ... in a batch of one process.
    """

    def __init__(self, *args: Any, train_dataset: Dataset, eval_dataset: Dataset | None = None, **options: Any) -> None:
        config = options["args"]
        estimates_kl = config.loss_type != "apo_zero_unpaired"
        if estimates_kl:
            train_dataset = _mixed(train_dataset, config.seed)
        if estimates_kl and config.per_device_train_batch_size > 1:  # The trainer says what is wrong with one.
            train_dataset = _with_mismatched(train_dataset, config.per_device_train_batch_size)
            eval_dataset = eval_dataset and _with_mismatched(eval_dataset, config.per_device_train_batch_size)
        super().__init__(  # type: ignore[call-arg]
            *args, train_dataset=train_dataset, eval_dataset=eval_dataset, **options
        )


def _mixed(dataset: Dataset, seed: int) -> Dataset:
    """The rows in another order: the trainer takes them as they come, and a file may hold all good ones first."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.select(order, keep_in_memory=True).flatten_indices(keep_in_memory=True)


def _with_mismatched(dataset: Dataset, size: int) -> Dataset:
    """The dataset with `KL_completion_ids`: the completions of each block of rows, moved on by one."""
    starts = np.arange(len(dataset)) // size * size
    ends = np.minimum(starts + size, len(dataset))
    before = starts + (np.arange(len(dataset)) - starts - 1) % (ends - starts)
    others = dataset.select_columns(["completion_ids"]).select(before, keep_in_memory=True)
    others = others.flatten_indices(keep_in_memory=True).rename_column("completion_ids", "KL_completion_ids")
    return concatenate_datasets([dataset, others], axis=1)


class PairedTokens:
    """For the experimental trainers of ORPO and CPO: rows are tokens already, and are never tokenized.

    These trainers tokenize while they are constructed, whatever they are given. They get a row of text, and then the
    rows themselves.
    """

    train_dataset: Any
    eval_dataset: Any

    def __init__(
        self,
        *args: Any,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        processing_class: Any,
        **options: Any,
    ) -> None:
        if processing_class.pad_token_id is None:
            processing_class.pad_token = processing_class.eos_token
        text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        super().__init__(  # type: ignore[call-arg]
            *args,
            train_dataset=text,
            eval_dataset=eval_dataset and text,
            processing_class=processing_class,
            data_collator=PairCollator(processing_class.pad_token_id),
            **options,
        )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.use_dpo_data_collator = True  # The columns are those of that collator.


class PairCollator:
    """Pairs of answers as `trl.experimental.utils.DPODataCollatorWithPadding` lays them out."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, examples: Examples) -> dict[str, torch.Tensor]:
        """For each answer `..._input_ids`, `..._attention_mask` and `..._labels` [rows, longest]; `num_tokens` []."""
        batch = {}
        for name in ("chosen", "rejected"):
            rows = [torch.tensor([*example["prompt_ids"], *example[f"{name}_ids"]]) for example in examples]
            labels = [row.clone() for row in rows]
            for label, example in zip(labels, examples, strict=True):
                label[: len(example["prompt_ids"])] = -100
            batch[f"{name}_input_ids"] = _padded(rows, self.pad_token_id)
            batch[f"{name}_attention_mask"] = _padded([torch.ones_like(row) for row in rows], 0)
            batch[f"{name}_labels"] = _padded(labels, -100)
        tokens = batch["chosen_attention_mask"].sum() + batch["rejected_attention_mask"].sum()
        return batch | {"num_tokens": tokens}


def _padded(rows: list[torch.Tensor], filling: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filling)


MIXINS: dict[str, tuple[type, ...]] = {
    "trl:RewardTrainer": (WholeAnswers,),
    "trl:DPOTrainer": (StoredReference,),
    "trl:KTOTrainer": (MismatchedAnswers, StoredReference),
    "trl.experimental.orpo:ORPOTrainer": (PairedTokens,),
    "trl.experimental.cpo:CPOTrainer": (PairedTokens,),
}
"""Import path of a trainer -> what stands before it."""
