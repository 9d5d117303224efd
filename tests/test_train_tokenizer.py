"""A trained tokenizer loads everywhere, loses nothing, and is the same every time."""

import json
import subprocess
import sys
from random import Random

import pytest
from data_stages import CHATML, prepare_rows, tokenizer_spec, train_a_tokenizer
from transformers import AutoConfig, AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from llmrecipe import facts
from llmrecipe.stages import train_tokenizer
from llmrecipe.stages.place import StageError

WORDS = ["".join(Random(number).choices("abdeiknorstu", k=2 + number % 5)) for number in range(60)]
TEXTS = [f"The cat {WORDS[n % 60]} {WORDS[n % 47]} {n} mice in {WORDS[n % 31]}, naïvely!\n" for n in range(180)]

UNICODE = [
    "",
    " ",
    "a  b\n\n\tc ",
    "naïve café — “quoted”",
    "日本語 العربية हिन्दी",
    "🙂👨‍👩‍👧",
    "\x00\x07\u200d\ufffe",
    "1234567.89",
    "x" * 99,
]

EXCHANGE = [
    {"role": "user", "content": "The red cat?"},
    {"role": "assistant", "content": " saw 3 mice"},
    {"role": "user", "content": "The blue cat?"},
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return prepare_rows(folder / "p", [{"text": text} for text in TEXTS], "text") / "rows"


@pytest.fixture(scope="module")
def tokenizers(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {name: train_a_tokenizer(folder / name, rows, algorithm=name) for name in ("bpe", "wordpiece", "unigram")}


@pytest.mark.parametrize("text", UNICODE)
def test_byte_pairs_give_back_any_text(tokenizers, text):
    tokenizer = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("text", ["The cat  saw\n3 mice", " leading and trailing "])
def test_unigram_gives_back_text_of_known_characters(tokenizers, text):
    tokenizer = AutoTokenizer.from_pretrained(tokenizers["unigram"])
    known = "".join(character for character in text if character in "".join(TEXTS))
    assert tokenizer.decode(tokenizer(known)["input_ids"]) == known


def test_wordpiece_cuts_words_into_a_beginning_and_marked_continuations(tokenizers):
    tokenizer = AutoTokenizer.from_pretrained(tokenizers["wordpiece"])
    assert tokenizer.tokenize("The cats, ☃") == ["The", "cat", "##s", ",", "<|unk|>"]
    assert tokenizer.decode(tokenizer("The cat in")["input_ids"]) == "The cat in"


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_special_tokens_come_first_and_padding_is_not_the_end(tokenizers, algorithm):
    tokenizer = AutoTokenizer.from_pretrained(tokenizers[algorithm])
    unknown = [] if algorithm == "bpe" else ["<|unk|>"]
    first = ["<|endoftext|>", "<|pad|>", *unknown, "<|im_start|>", "<|im_end|>"]
    assert tokenizer.convert_ids_to_tokens(range(len(first))) == first
    assert set(tokenizer.all_special_tokens) == set(first)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert tokenizer.model_max_length == 64
    assert tokenizer("<|im_end|>")["input_ids"] == [first.index("<|im_end|>")]


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_the_folder_is_what_transformers_itself_would_write(tokenizers, algorithm, tmp_path):
    AutoTokenizer.from_pretrained(tokenizers[algorithm]).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        ours, theirs = (json.loads((folder / name).read_text("utf-8")) for folder in (tokenizers[algorithm], tmp_path))
        assert {key: theirs.get(key) for key in ours} == ours
    assert (tmp_path / "chat_template.jinja").read_text("utf-8") == CHATML


@pytest.mark.parametrize("family", facts.families())
def test_the_tokenizer_stays_the_same_beside_the_configuration_of_any_family(tokenizers, family, tmp_path):
    expected = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    expected.save_pretrained(tmp_path)
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()
    assert (loaded.eos_token, loaded.pad_token, loaded.bos_token) == ("<|endoftext|>", "<|pad|>", None)


def test_text_is_cut_as_qwen2_cuts_it():
    assert train_tokenizer.WORDS == PRETOKENIZE_REGEX


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_equal_rows_give_equal_bytes_in_another_process(tokenizers, rows, algorithm, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "output").mkdir()
    code = """
import sys
from pathlib import Path
from llmrecipe.plan import TrainTokenizer
from llmrecipe.stages import train_tokenizer
from llmrecipe.stages.place import Place
here, rows = Path(sys.argv[1]), Path(sys.argv[2])
place = Place({"rows": rows}, here / "output", here / "work", here)
train_tokenizer.run(TrainTokenizer.model_validate_json(sys.argv[3]), place)
"""
    spec = tokenizer_spec(algorithm=algorithm).model_dump_json()
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(rows), spec], check=True, capture_output=True)
    again = tmp_path / "output" / "tokenizer" / "tokenizer.json"
    assert again.read_bytes() == (tokenizers[algorithm] / "tokenizer.json").read_bytes()


def test_what_threads_and_hashing_do_to_unigram_scores_is_undone():
    first = [("<|unk|>", 0.0), ("ab", -1.0000000000004), ("c", -2.0), ("ä", -9.0), ("ö", -8.9999), ("ü", -8.9998)]
    second = [("<|unk|>", 0.0), ("c", -2.0000000000001), ("ab", -1.0), ("ü", -9.0), ("ä", -8.9999), ("ö", -8.9998)]
    expected = [("<|unk|>", 0.0), ("ab", -1.0), ("c", -2.0), ("ä", -8.9998), ("ö", -8.9999), ("ü", -9.0)]
    assert train_tokenizer._canonical(first, ["<|unk|>"]) == expected
    assert train_tokenizer._canonical(second, ["<|unk|>"]) == expected


def test_the_vocabulary_has_the_asked_size_or_what_the_text_gives(tokenizers, rows, tmp_path):
    for folder in tokenizers.values():
        assert len(AutoTokenizer.from_pretrained(folder)) <= 320
    assert len(AutoTokenizer.from_pretrained(tokenizers["bpe"])) == 320
    large = AutoTokenizer.from_pretrained(train_a_tokenizer(tmp_path / "large", rows, vocab_size=50_000))
    assert 320 < len(large) < 2000


def test_a_vocabulary_that_cannot_hold_the_characters_is_refused(tmp_path):
    text = "".join(chr(0x4E00 + number) for number in range(400))
    rows = prepare_rows(tmp_path / "p", [{"text": text}], "text") / "rows"
    for algorithm in ("wordpiece", "unigram"):
        with pytest.raises(StageError, match=r"`tokenizer\.vocab_size: 320` is too small") as error:
            train_a_tokenizer(tmp_path / algorithm, rows, algorithm=algorithm)
        assert "`limit_alphabet`" in error.value.help
        folder = train_a_tokenizer(tmp_path / f"{algorithm}-limited", rows, algorithm=algorithm, limit_alphabet=50)
        assert len(AutoTokenizer.from_pretrained(folder)) <= 320
    with pytest.raises(StageError, match="too small"):
        train_a_tokenizer(tmp_path / "bpe", rows, special_tokens=[f"<{number}>" for number in range(99)])


def test_special_tokens_of_the_recipe_and_its_template_are_never_split(rows, tmp_path):
    template = "{% for m in messages %}<user>{{ m.content }}{% endfor %}"
    folder = train_a_tokenizer(tmp_path / "t", rows, special_tokens=["<user>", "<|pad|>"], chat_template=template)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(range(3)) == ["<|endoftext|>", "<|pad|>", "<user>"]
    assert tokenizer.tokenize("a<user>b") == ["a", "<user>", "b"]
    assert "<|im_start|>" not in tokenizer.get_vocab()


def test_chatml_marks_the_assistant_with_its_end_and_keeps_prefixes(tokenizers):
    tokenizer = AutoTokenizer.from_pretrained(tokenizers["bpe"])
    whole = tokenizer.apply_chat_template(EXCHANGE, return_dict=True, return_assistant_tokens_mask=True)
    learned = [token for token, mark in zip(whole["input_ids"], whole["assistant_masks"]) if mark]
    assert tokenizer.decode(learned) == " saw 3 mice<|im_end|>"
    for count in (1, 2, 3):
        prompt = count % 2 == 1
        part = tokenizer.apply_chat_template(EXCHANGE[:count], add_generation_prompt=prompt, tokenize=False)
        assert tokenizer.decode(whole["input_ids"]).startswith(
            part if count < 3 else part.removesuffix("<|im_start|>assistant\n")
        )
    system = [{"role": "system", "content": "s"}, *EXCHANGE[:1]]
    expected = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nThe red cat?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(system, tokenize=False, add_generation_prompt=True) == expected
