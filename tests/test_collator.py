"""Batches: padding, position ids, and documents that do not see each other."""

import pytest
import small

from llmrecipe.trainers import collator
from llmrecipe.trainers.collator import IGNORED, CausalCollator, isolation

ROWS = list(small.packed_rows(2))


def test_rows_are_padded_on_the_right_and_padding_is_neither_seen_nor_learned() -> None:
    batch = CausalCollator(0)([{"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}, {"input_ids": [8], "labels": [8]}])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["num_tokens"] == 4


def test_rows_that_are_shared_out_have_a_length_that_can_be() -> None:
    batch = CausalCollator(0, multiple=4)([{"input_ids": [5] * 5, "labels": [5] * 5}])
    assert batch["labels"].tolist() == [[5] * 5 + [IGNORED] * 3]
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0] * 3]
    assert batch["num_tokens"] == 5


def test_positions_start_over_and_no_attention_mask_hides_that() -> None:
    row = {"input_ids": [5, 6, 7, 8, 9], "labels": [5, 6, 7, 8, 9], "seq_lengths": [2, 3]}
    batch = CausalCollator(0, "positions")([row, {"input_ids": [4], "labels": [4], "seq_lengths": [1]}])
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2], [0] * 5]
    assert "attention_mask" not in batch


def test_a_document_is_not_predicted_from_the_one_before_it() -> None:
    row = {"input_ids": [5, 6, 7, 8, 9], "labels": [5, 6, 7, 8, 9], "seq_lengths": [2, 3]}
    for way in ("positions", "blocks", "flat"):
        assert CausalCollator(0, way)([row])["labels"].tolist() == [[IGNORED, 6, IGNORED, 8, 9]]


def test_the_flat_batch_has_the_lengths_that_flash_attention_reads() -> None:
    batch = CausalCollator(0, "flat")(ROWS)
    lengths = [n for row in ROWS for n in row["seq_lengths"]]
    assert batch["input_ids"].shape == (1, sum(lengths))
    assert batch["cu_seq_lens_q"].diff().tolist() == lengths
    assert batch["max_length_q"] == max(lengths)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", small.FAMILIES)
def test_most_families_are_told_by_positions(family: str, attention: str) -> None:
    assert isolation(small.model(family, attention), attention) == ("blocks" if family == "falcon" else "positions")


def test_a_model_that_heeds_neither_way_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model()
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, **_: forward(input_ids=input_ids))
    assert isolation(model, "sdpa") is None


def test_isolation_leaves_the_mode_of_the_model_alone() -> None:
    model = small.model().train()
    isolation(model, "sdpa")
    assert model.training


def test_flash_attention_gets_flat_rows() -> None:
    assert collator.isolation(None, "flash_attention_2") == "flat"
