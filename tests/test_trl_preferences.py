"""What preferences and distillation rely on inside of TRL: an upgrade that breaks one of these says which."""

import importlib
import inspect
import re
from typing import Any, get_args

import datasets
import pytest
import trl.trainer.dpo_trainer
import trl.trainer.kto_trainer

from llmrecipe import facts
from llmrecipe.cli.plan import EXPERIMENTAL
from llmrecipe.lint.preferences import DIFFERENCES
from llmrecipe.methods import METHODS
from llmrecipe.methods.cpo import CPO
from llmrecipe.methods.dpo import DPO, Loss
from llmrecipe.methods.kto import KTO
from llmrecipe.trainers import pretokenized

HOOKS: dict[str, dict[str, tuple[str, ...]]] = {
    "trl.trainer.reward_trainer:DataCollatorForPreference": {"torch_call": ("self", "examples")},
    "trl:RewardTrainer": {"__init__": ("model", "args", "data_collator", "processing_class", "peft_config")},
    "trl:DPOTrainer": {
        "__init__": ("model", "ref_model", "args", "processing_class", "peft_config"),
        "_prepare_dataset": ("self", "dataset"),
        "_precompute_ref_logps": ("self", "dataset", "name", "batch_size"),
    },
    "trl:KTOTrainer": {
        "__init__": ("model", "ref_model", "args", "train_dataset", "eval_dataset", "peft_config"),
        "_prepare_dataset": ("self", "dataset"),
        "_precompute_ref_logps": ("self", "dataset", "name", "batch_size"),
    },
    "trl.experimental.orpo:ORPOTrainer": {
        "__init__": ("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class"),
        "concatenated_inputs": ("batch",),
    },
    "trl.experimental.cpo:CPOTrainer": {
        "__init__": ("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class"),
        "concatenated_inputs": ("batch",),
    },
    "trl:DistillationTrainer": {
        "__init__": ("model", "teacher_model", "args", "train_dataset", "eval_dataset", "peft_config"),
        "_get_train_sampler": ("self", "dataset"),
        "_generate_and_score_completions": ("self", "inputs"),
        "_tokenize_prompts": ("self", "prompts"),
        "_prepare_inputs": ("self", "generation_batch"),
    },
    "trl.trainer.utils:RepeatSampler": {"__init__": ("data_source", "mini_repeat_count", "shuffle", "seed")},
}
"""Class -> its functions that are overridden or called, with the parameters that are named."""


def found(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", sorted({p for method in METHODS for p in (method.trainer, method.config)}))
def test_the_trainer_of_every_method_is_where_it_says(path: str) -> None:
    assert inspect.isclass(found(path)), f"{path} is gone: find where its library has it now, or drop the method"


@pytest.mark.parametrize(("path", "function"), [(path, name) for path, hooks in HOOKS.items() for name in hooks])
def test_a_function_that_is_overridden_or_called_has_its_parameters(path: str, function: str) -> None:
    parameters = set(inspect.signature(getattr(found(path), function)).parameters)
    missing = set(HOOKS[path][function]) - parameters
    assert not missing, f"{path}.{function} has no {missing} any more: llmrecipe/trainers/pretokenized.py relies on it"


def test_every_mixin_stands_before_a_trainer_that_exists() -> None:
    assert set(pretokenized.MIXINS) <= set(HOOKS)


def test_the_losses_of_dpo_are_those_of_the_trainer() -> None:
    text = inspect.getsource(trl.trainer.dpo_trainer.DPOTrainer._compute_loss)
    assert set(re.findall(r'loss_type == "(\w+)"', text)) == set(get_args(Loss))
    assert len(get_args(Loss)) == 15


def test_the_losses_that_go_with_every_divergence_are_those_of_the_trainer() -> None:
    text = inspect.getsource(trl.trainer.dpo_trainer.DPOTrainer.__init__)
    listed = re.search(r"f_divergence_loss_types = \{([^}]*)\}", text)
    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(DIFFERENCES)


def test_the_divergences_are_those_of_the_trainer() -> None:
    text = inspect.getsource(trl.trainer.dpo_trainer.DPOTrainer._compute_loss)
    assert set(re.findall(r'f_divergence_type == "(\w+)"', text)) == set(
        get_args(DPO.model_fields["f_divergence_type"].annotation)
    )


def test_kto_still_asks_for_rows_in_their_order() -> None:
    assert facts.trainer_fields(KTO.config)["train_sampling_strategy"].default == "sequential"
    text = inspect.getsource(trl.trainer.kto_trainer.KTOTrainer.__init__)
    assert 'args.train_sampling_strategy != "sequential"' in text


def test_the_experimental_trainers_still_map_rows_while_they_are_constructed() -> None:
    for method in METHODS:
        if "trl.experimental" in method.trainer:
            text = inspect.getsource(found(method.trainer).__init__)
            assert "train_dataset.map(self.tokenize_row" in text
            assert "use_dpo_data_collator" in text


def test_datasets_still_ask_where_to_keep_what_was_computed() -> None:
    assert list(inspect.signature(datasets.Dataset._get_cache_file_path).parameters) == ["self", "fingerprint"]


def test_the_plan_knows_what_is_experimental() -> None:
    assert set(EXPERIMENTAL) >= {"orpo", "cpo"}
    assert all(method.experimental for method in METHODS if "experimental" in method.trainer)


def test_the_losses_of_cpo_are_those_of_the_trainer() -> None:
    text = inspect.getsource(found(CPO.trainer).cpo_loss)
    assert set(re.findall(r'loss_type == "(\w+)"', text)) == set(get_args(CPO.model_fields["loss_type"].annotation))
