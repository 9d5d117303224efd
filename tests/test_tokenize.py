"""Tokenization gives what TRL would, packed without contamination, and tells what is learned from."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from data_stages import CHATML, prepare_rows, read, report, tokenize_rows, train_a_tokenizer
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from llmrecipe.plan import HubModel, LocalModel, Tokenize
from llmrecipe.stages import tokenize
from llmrecipe.stages.place import StageError
from llmrecipe.stages.tokenizer import from_folder

TEXTS = ["Short.", "A longer text, with 12 numbers 34 and naïve words 🙂", "x" * 200, "Ends itself.<|endoftext|>"]


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


LONG = "word " * 40
CONVERSATIONS = [
    [user("Hi"), assistant("Hello!")],
    [{"role": "system", "content": "Be kind."}, user("1 + 1?"), assistant("2"), user("2 + 2?"), assistant("4")],
    [user("Tell me"), assistant(LONG)],
    [user(LONG), assistant("no room for this")],
]
ROWS = {
    "text": [{"text": text} for text in TEXTS],
    "messages": [{"messages": turns} for turns in CONVERSATIONS],
    "prompt_completion": [
        {"prompt": "The sum of 1 and 2 is ", "completion": "3."},
        {"prompt": "", "completion": "from nothing"},
        {"prompt": "Say it: ", "completion": LONG},
        {"prompt": LONG, "completion": "no room"},
    ],
    "prompt_completion of messages": [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in CONVERSATIONS],
    "preference": [
        {"prompt": "Best number? ", "chosen": "7", "rejected": "none"},
        {"prompt": "A trailing blank ", "chosen": " merges", "rejected": "not"},
        {"prompt": LONG, "chosen": "a", "rejected": "b"},
    ],
    "preference of messages": [
        {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": [assistant("No.")]} for turns in CONVERSATIONS
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A trained tokenizer, and every kind of prepared rows."""
    folder = tmp_path_factory.mktemp("home")
    for name, rows in ROWS.items():
        prepare_rows(folder / name.replace(" ", "-"), rows, name.split()[0])
    train_a_tokenizer(folder / "tokenizer", folder / "text" / "output" / "rows")
    return folder


def encode(home, folder, name, **options):
    rows = home / name.replace(" ", "-") / "output" / "rows"
    return tokenize_rows(folder, rows, home / "tokenizer" / "output" / "tokenizer", **options)


def dataset(output, split="train"):
    return datasets.load_from_disk(str(output / "dataset" / split))


def model(tokenizer):
    return Qwen3ForCausalLM(
        Qwen3Config(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8,
                    num_key_value_heads=1, intermediate_size=8, pad_token_id=1, eos_token_id=0, bos_token_id=None)
    )  # fmt: skip


# -- the same as TRL --


@pytest.mark.parametrize(
    ("name", "loss_on", "options"),
    [
        ("text", "all", {}),
        ("messages", "all", {}),
        ("messages", "assistant", {"assistant_only_loss": True}),
        ("prompt_completion", "completion", {}),
        ("prompt_completion", "all", {"completion_only_loss": False}),
        ("prompt_completion of messages", "completion", {}),
        ("prompt_completion of messages", "all", {"completion_only_loss": False}),
    ],
)
@pytest.mark.parametrize("max_length", [40, 400])
def test_ids_and_labels_are_those_of_the_sft_trainer(home, tmp_path, name, loss_on, options, max_length):
    tokenizer = AutoTokenizer.from_pretrained(home / "tokenizer" / "output" / "tokenizer")
    args = SFTConfig(str(tmp_path), max_length=max_length, use_cpu=True, bf16=False, report_to="none", **options)
    rows = datasets.Dataset.from_list(ROWS[name])
    theirs = SFTTrainer(model(tokenizer), args, train_dataset=rows, processing_class=tokenizer).train_dataset
    ours = dataset(encode(home, tmp_path / "ours", name, loss_on=loss_on, max_length=max_length))
    assert ours["input_ids"][:] == theirs["input_ids"][:]
    assert ours["labels"][:] == theirs["labels"][:]


@pytest.mark.parametrize("name", ["preference", "preference of messages"])
@pytest.mark.parametrize("max_length", [60, 400])
def test_preferences_are_those_of_the_dpo_trainer(home, tmp_path, name, max_length):
    tokenizer = AutoTokenizer.from_pretrained(home / "tokenizer" / "output" / "tokenizer")
    args = DPOConfig(str(tmp_path), max_length=max_length, use_cpu=True, bf16=False, report_to="none")
    rows = datasets.Dataset.from_list(ROWS[name])
    trainer = DPOTrainer(model(tokenizer), model(tokenizer), args, train_dataset=rows, processing_class=tokenizer)
    ours = dataset(encode(home, tmp_path / "ours", name, objective="preference", max_length=max_length))
    theirs = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    found = DataCollatorForPreference(tokenizer.pad_token_id)([ours[i] for i in range(len(ours))])
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)


def test_the_loss_over_the_assistant_is_over_what_it_says_and_its_end(home, tmp_path):
    output = encode(home, tmp_path / "ours", "messages", loss_on="assistant", max_length=400)
    tokenizer = AutoTokenizer.from_pretrained(output / "tokenizer")
    labels = dataset(output)["labels"][1]
    assert tokenizer.decode([label for label in labels if label != -100]) == "2<|im_end|>4<|im_end|>"
    spans = report(output)["train"]["samples"][0]["spans"]
    assert [span["text"] for span in spans if span["learned"]] == ["Hello!<|im_end|>"]
    assert "".join(span["text"] for span in spans).startswith("<|im_start|>user\nHi<|im_end|>\n")


# -- packing --


@pytest.mark.parametrize("packing", ["bfd", "bfd_split", "wrapped"])
def test_packed_documents_are_told_apart_and_never_predict_each_other(home, tmp_path, packing):
    output = encode(home, tmp_path / "ours", "text", packing=packing, max_length=32)
    rows = dataset(output)
    for ids, labels, lengths in zip(rows["input_ids"], rows["labels"], rows["seq_lengths"]):
        assert len(ids) == len(labels) == sum(lengths) <= 32
        heads = np.cumsum([0, *lengths[:-1]])
        assert [labels[head] for head in heads] == [-100] * len(heads)
        assert all(label == token for n, (token, label) in enumerate(zip(ids, labels)) if n not in heads)
    told = report(output)["train"]
    assert told["sequences"] == len(rows)
    assert told["supervised_tokens"] == sum(label != -100 for labels in rows["labels"] for label in labels)
    assert told["tokens"] == sum(map(len, rows["input_ids"]))


@pytest.mark.parametrize("packing", ["bfd_split", "wrapped"])
def test_packing_for_pretraining_loses_no_token(home, tmp_path, packing):
    whole = dataset(encode(home, tmp_path / "whole", "text", max_length=10_000))
    output = encode(home, tmp_path / "ours", "text", packing=packing, max_length=32)
    ours = [token for ids in dataset(output)["input_ids"] for token in ids]
    assert sorted(ours) == sorted(token for ids in whole["input_ids"] for token in ids)
    assert report(output)["train"]["tokens_cut_off"] == 0


def test_many_sequences_are_gathered_in_chunks(home, tmp_path, monkeypatch):
    whole = dataset(encode(home, tmp_path / "whole", "text", packing="bfd_split", max_length=32))
    monkeypatch.setattr(tokenize, "CHUNK_TOKENS", 50)
    parts = dataset(encode(home, tmp_path / "parts", "text", packing="bfd_split", max_length=32))
    assert parts[:] == whole[:]


def test_the_loss_of_a_packed_sequence_is_that_of_its_documents_alone(home, tmp_path):
    output = encode(home, tmp_path / "packed", "text", packing="bfd", max_length=400)
    tokenizer = AutoTokenizer.from_pretrained(output / "tokenizer")
    torch.manual_seed(0)
    network = model(tokenizer).eval()
    (packed,) = dataset(output)
    positions = [n for length in packed["seq_lengths"] for n in range(length)]
    together = network(
        input_ids=torch.tensor([packed["input_ids"]]),
        labels=torch.tensor([packed["labels"]]),
        position_ids=torch.tensor([positions]),
        use_cache=False,
    )
    alone = dataset(encode(home, tmp_path / "alone", "text", max_length=400))
    losses = [
        network(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]]), use_cache=False).loss
        * (len(row["input_ids"]) - 1)
        for row in alone
    ]
    predicted = sum(len(row["input_ids"]) - 1 for row in alone)
    assert together.loss.item() == pytest.approx((sum(losses) / predicted).item(), rel=1e-5)


# -- the account --


def test_rows_without_anything_to_learn_are_dropped_and_counted(home, tmp_path):
    output = encode(home, tmp_path / "ours", "prompt_completion", loss_on="completion", max_length=40)
    told = report(output)["train"]
    assert told["dropped"] == {"no supervised token within max_length": 1}
    assert (told["rows"], told["kept"], told["truncated_rows"]) == (4, 3, 1)
    assert told["truncated_share"] == pytest.approx(1 / 3, abs=1e-3)
    assert told["length"]["max"] > 40
    assert any("lose their end" in warning for warning in report(output)["warnings"])


def test_prompts_that_merge_with_their_answer_are_reported(home, tmp_path):
    rows = [{"prompt": "a \n", "completion": "\n\nb"}] * 3
    prepared = prepare_rows(tmp_path / "p", rows, "prompt_completion")
    corpus = prepare_rows(tmp_path / "c", [{"text": "a\n\n\n\nb"}] * 9, "text")
    tokenizer = train_a_tokenizer(tmp_path / "t", corpus / "rows")
    options = {"loss_on": "completion"}
    output = tokenize_rows(tmp_path / "o", prepared / "rows", tokenizer, **options)
    assert any("in 3 rows the prompt is tokenized otherwise" in warning for warning in report(output)["warnings"])


def test_validation_rows_become_a_dataset_of_their_own(home, tmp_path):
    rows = [{"text": f"row {number}"} for number in range(60)]
    prepared = prepare_rows(tmp_path / "p", rows, "text", validation_fraction=0.3)
    tokenizer = home / "tokenizer" / "output" / "tokenizer"
    output = tokenize_rows(tmp_path / "o", prepared / "rows", tokenizer)
    assert len(dataset(output, "validation")) == len(read(prepared, "validation")) > 0
    assert len(dataset(output)) == len(read(prepared))
    assert report(output)["validation"]["rows"] == len(read(prepared, "validation"))


# -- mistakes --


@pytest.mark.parametrize(
    ("name", "options", "message", "help"),
    [
        (
            "messages",
            {"chat_template": "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "loss_on": "assistant"},
            "does not mark the assistant's turns",
            "{% generation %}",
        ),
        (
            "messages",
            {"chat_template": CHATML.replace("<|im_end|>' }}\n        {%- endgen", "' }}\n        {%- endgen")},
            "ends the assistant's turn with nothing",
            "special token",
        ),
        (
            "messages",
            {
                "chat_template": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
                "{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}",
                "loss_on": "assistant",
            },
            "leaves the token that ends the assistant's turn out of the loss",
            "inside {% generation %}",
        ),
        (
            "messages",
            {"chat_template": "{% for m in messages %}{{ m.content }}"},
            "the chat template cannot render a question and its answer: Unexpected end of template",
            "tokenizer.chat_template",
        ),
        (
            "messages",
            {"chat_template": "{% for m in messages %}{{ m.content }}</turn>{% endfor %}"},
            "ends the assistant's turn with '</turn>', which is not a token of its own",
            "'<|endoftext|>'",
        ),
        (
            "messages",
            {
                "chat_template": "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
                + CHATML
            },
            "refuses a conversation of system, user, assistant, user, assistant that begins with 'Be kind.': no system",
            "drop or correct",
        ),
        (
            "messages",
            {"loss_on": "assistant", "max_length": 2},
            "no train row of 4 has anything to learn: 4 no supervised token within max_length",
            "`training.max_length` (2)",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(home, tmp_path, name, options, message, help):
    with pytest.raises(StageError) as error:
        encode(home, tmp_path / "ours", name, **options)
    assert message in error.value.message
    assert help in error.value.help


def _without(home, tmp_path, key):
    tokenizer = AutoTokenizer.from_pretrained(home / "tokenizer" / "output" / "tokenizer")
    setattr(tokenizer, key, None)
    tokenizer.save_pretrained(tmp_path / "changed")
    return tmp_path / "changed"


def test_conversations_need_a_template_and_texts_an_end(home, tmp_path):
    rows = {name: home / name / "output" / "rows" for name in ("messages", "text")}
    with pytest.raises(StageError, match="the tokenizer has no chat template"):
        tokenize_rows(tmp_path / "a", rows["messages"], _without(home, tmp_path, "chat_template"))
    with pytest.raises(StageError, match="the tokenizer has no end of text"):
        tokenize_rows(tmp_path / "b", rows["text"], _without(home, tmp_path, "eos_token"))


# -- where the tokenizer comes from --


def test_reading_a_tokenizer_without_torch_gives_the_same_tokenizer(home, tmp_path):
    folder = home / "tokenizer" / "output" / "tokenizer"
    quick, slow = from_folder(folder), AutoTokenizer.from_pretrained(folder)
    assert quick.backend_tokenizer.to_str() == slow.backend_tokenizer.to_str()
    assert quick.chat_template == slow.chat_template == CHATML
    assert quick.special_tokens_map == slow.special_tokens_map
    quick.save_pretrained(tmp_path / "quick")
    slow.save_pretrained(tmp_path / "slow")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "quick" / name).read_bytes() == (tmp_path / "slow" / name).read_bytes()


def test_a_tokenizer_with_a_class_of_its_own_is_read_with_that_class(home, tmp_path):
    folder = _without(home, tmp_path, "chat_template")
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "Qwen2Tokenizer"}), "utf-8")
    assert (
        type(from_folder(folder)).__name__ == type(AutoTokenizer.from_pretrained(folder)).__name__ == "Qwen2Tokenizer"
    )


def test_a_tokenizer_is_read_with_its_template_where_mistral_common_is_installed(home, tmp_path, monkeypatch):
    folder = _without(home, tmp_path, "chat_template")
    (folder / "config.json").write_text('{"model_type": "mistral"}')
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "MistralCommonBackend"}')
    asked = {}
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda _, **options: asked.update(options))
    from_folder(folder)
    assert asked["mistral_format"] is False


def test_the_template_in_force_is_saved_with_the_tokenizer(home, tmp_path):
    template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    output = encode(home, tmp_path / "ours", "messages", chat_template=template)
    assert AutoTokenizer.from_pretrained(output / "tokenizer").chat_template == template


def test_a_local_model_gives_its_tokenizer_from_the_folder_of_the_recipe(home, tmp_path):
    rows = home / "text" / "output" / "rows"
    folder = home / "tokenizer" / "output" / "tokenizer"
    local = LocalModel(kind="local", path=str(folder), sha256="")
    output = tokenize_rows(tmp_path / "o", rows, folder, tokenizer=local)
    assert len(dataset(output)) == len(TEXTS)
    missing = LocalModel(kind="local", path="models/none", sha256="")
    with pytest.raises(StageError, match=r"models/none is not a folder"):
        tokenize_rows(tmp_path / "p", rows, folder, tokenizer=missing)


def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do(home, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = HubModel(kind="hub", repo="nobody/nothing", revision=None)
    with pytest.raises(StageError, match=r"the tokenizer of nobody/nothing cannot be had") as error:
        tokenize_rows(tmp_path / "o", home / "text" / "output" / "rows", Path(), tokenizer=hub)
    assert "hf auth login" in error.value.help


def test_code_of_a_model_runs_only_when_allowed(home, tmp_path):
    with pytest.raises(StageError, match="lets Python code that comes with the tokenizer run"):
        encode(home, tmp_path / "ours", "text", trust_remote_code=True)


def test_tokenizing_imports_neither_torch_nor_datasets_nor_pandas(home, tmp_path):
    spec = Tokenize(
        kind="tokenize", objective="causal", tokenizer=None, chat_template=None, loss_on="assistant",
        max_length=64, packing="bfd", trust_remote_code=False,
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    code = """
import sys
from pathlib import Path
from llmrecipe.plan import Tokenize
from llmrecipe.stages import tokenize
from llmrecipe.stages.place import Place
here, home = Path(sys.argv[1]), Path(sys.argv[2])
inputs = {"rows": home / "messages/output/rows", "tokenizer": home / "tokenizer/output/tokenizer"}
tokenize.run(Tokenize.model_validate_json(sys.argv[3]), Place(inputs, here / "output", here / "work", here))
print([name for name in ("torch", "datasets", "pandas") if name in sys.modules])
"""
    arguments = [sys.executable, "-c", code, str(tmp_path), str(home), spec.model_dump_json()]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip() == "[]"
