"""Every check of `validate --online` by its own two examples and at its edges, against a stand-in Hub."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import transformers
from datasets.arrow_reader import ReadInstruction
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData
from stand_in_hub import MEMBER, STRANGER, WORLD, Published, StandIn, model, stand_in
from test_lint import BLOCK, SECTIONS, write_texts
from transformers.utils import CHAT_TEMPLATE_FILE
from transformers.utils.hub import CHAT_TEMPLATE_DIR

from llmrecipe import hub
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.lint import RULES, lint
from llmrecipe.preflight.checks import CHECKS as PREFLIGHT
from llmrecipe.remote import CHECKS, Answer, Judged, Question, Refusal, Repository, Space, answers, judge, named
from llmrecipe.remote.checks.dataset import PART, default, names
from llmrecipe.remote.checks.disk import model_bytes
from llmrecipe.remote.checks.model import FURTHER_TEMPLATES
from llmrecipe.remote.checks.use import PICKLED, SAFE
from llmrecipe.resolve import resolve
from llmrecipe.stages.loading import AUTO_CLASSES
from llmrecipe.validate import validate
from llmrecipe.vocabulary import Head

GIB = 2**30
Checked = Callable[..., Judged]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A Hub, which the client of this process asks without a token and with an empty cache."""
    with stand_in(dict(WORLD)) as server:
        server.serve(monkeypatch, tmp_path)
        yield server


@pytest.fixture
def checked(server: StandIn, tmp_path: Path) -> Checked:
    """What the checks find in a recipe."""
    write_texts(tmp_path)

    def checked(text: str, free: int = 100 * GIB) -> Judged:
        file = tmp_path / "recipe.yaml"
        file.write_text(text)
        documents = validate(resolve(str(file), []))
        questions = [one.question for document in documents for one in named(document)]
        judged = judge(documents, answers(questions, hub.ask), Space("/cache", free))
        judged.findings = judged.instead_of(lint(documents)) if judged.settled else judged.findings
        judged.findings = [one for one in judged.findings if one.code in CHECKS or one.code in SETTLED]
        return judged

    return checked


SETTLED = {code for check in CHECKS.values() for code in check.instead_of}


def codes(judged: Judged) -> list[str]:
    return [one.code for one in judged.findings]


@pytest.mark.parametrize("code", sorted(CHECKS))
def test_the_example_of_a_check_breaks_it_alone_and_the_mended_one_breaks_none(
    code: str, server: StandIn, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, mended = BLOCK.findall(CHECKS[code].page)
    assert codes(checked(mended)) == []
    if code == "LR920":
        server.trouble = 503
    if code == "LR923":
        monkeypatch.setenv("HF_TOKEN", "hf_withdrawn")
    (found,) = checked(broken).findings
    assert (found.code, found.severity) == (code, CHECKS[code].severity)
    assert found.span.line > 1


@pytest.mark.parametrize("code", sorted(CHECKS))
def test_the_manual_page_of_a_check_has_four_sections_and_says_when_it_is_made(code: str) -> None:
    check = CHECKS[code]
    assert re.findall(r"^## .*$", check.page, re.MULTILINE) == SECTIONS
    assert " in `llmrecipe validate --online` alone, " in check.page.replace("\n", " ")
    assert re.fullmatch(r"LR9[23]\d", code)
    assert set(check.instead_of) <= RULES.keys()


def test_names_of_checks_are_those_of_nothing_else() -> None:
    taken = {rule.name for rule in RULES.values()} | {check.name for check in PREFLIGHT.values()}
    assert len({check.name for check in CHECKS.values()} - taken) == len(CHECKS)


RECIPE = """\
version: 1
name: style
model: {model}
data: {{train: [{source}]}}
method: {method}
training: {training}
"""


def recipe(
    model: str = "{base: Qwen/Qwen3-0.6B}",
    source: str = "{kind: files, paths: [chats.jsonl], format: messages}",
    method: str = "{kind: sft}",
    training: str = "{}",
) -> str:
    return RECIPE.format(model=model, source=source, method=method, training=training)


def rows(more: str, format: str = "messages") -> str:
    return recipe(source=f"{{kind: hub, {more}, format: {format}}}")


TEXT = "{kind: files, paths: [corpus.txt], format: text}"
PROMPTS = "{kind: files, paths: [problems.jsonl], format: prompt}"
SUMS = "dataset: openai/gsm8k, config: main"
NAMES = "columns: {prompt: question, completion: answer}"


@pytest.mark.parametrize(
    ("text", "found", "words"),
    [
        (recipe("{base: a/b/c}"), "LR921", "begins with `./`"),
        (recipe("{base: house/private}"), "LR921", "log in"),
        (recipe("{base: house/closed}"), "LR921", "the Hub has closed"),
        (recipe("{base: Qwenn/Qwen3-0.6B}"), "LR921", "did you mean `Qwen/Qwen3-0.6B`?"),
        (rows("dataset: openai/gsm8k-v2, config: main"), "LR921", "did you mean `openai/gsm8k`?"),
        (rows("dataset: house/gated-rows"), "LR922", "https://huggingface.co/datasets/house/gated-rows"),
        (recipe("{base: Qwen/Qwen3-0.6B, revision: COMMIT}"), "LR925", "did you mean `"),
        (recipe("{base: Qwen/Qwen3-0.6B, revision: dev}"), "LR925", "all 40 digits"),
        (recipe("{base: openai/gsm8k}"), "LR926", "is a dataset, and no model"),
        (rows("dataset: house/judge"), "LR926", "is a model, and no dataset"),
        (recipe("{base: house/style-lora}"), "LR926", "start from its base, `Qwen/Qwen3-0.6B`"),
        (recipe("{base: house/Qwen3-GGUF}"), "LR926", "made from, `Qwen/Qwen3-0.6B`"),
        (recipe("{base: house/judge}"), "LR926", "ends in scores (Qwen3ForSequenceClassification)"),
        (
            recipe(source=PROMPTS, method="{kind: grpo, reward_model: Qwen/Qwen3-0.6B-Base}"),
            "LR926",
            "a reward model is asked for",
        ),
        (recipe("{base: house/original-weights}"), "LR927", "consolidated.safetensors"),
        (rows("dataset: house/script"), "LR927", "no longer runs"),
        (recipe("{base: house/own-architecture, revision: v1.0}"), "LR929", "`trust_remote_code: true`"),
        (
            recipe("{base: google-t5/t5-small}"),
            "LR931",
            "no causal language model",
        ),
        (recipe("{base: Qwen/Qwen3-0.6B-Base}"), "LR935", "has no chat template"),
        (rows(f"dataset: openai/gsm8k, config: mian, {NAMES}", "prompt_completion"), "LR936", "did you mean `main`?"),
        (rows(f"{SUMS}, split: trian, {NAMES}", "prompt_completion"), "LR937", "did you mean `train`?"),
        (rows(f'{SUMS}, split: "train[:10%]+dev", {NAMES}', "prompt_completion"), "LR937", "no split `dev`"),
        (rows(f"{SUMS}, columns: {{prompt: questions, completion: answer}}", "prompt_completion"), "LR938", "question"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    text: str, found: str, words: str, checked: Checked, server: StandIn
) -> None:
    qwen = WORLD["models", "Qwen/Qwen3-0.6B"]
    assert not isinstance(qwen, str)
    (one,) = checked(text.replace("COMMIT", qwen.commit("main")[:8])).findings
    assert one.code == found
    assert words in f"{one.message}; {one.help}"


@pytest.mark.parametrize(
    "text",
    [
        recipe(),
        recipe(training="{max_length: 40960}"),
        recipe("{base: house/named-weights}"),
        recipe("{base: house/rounded}").partition("data:")[0],
        recipe(source=PROMPTS, method="{kind: grpo, reward_model: house/judge}"),
        rows("dataset: house/silent-card, config: any, split: any"),
        rows("dataset: HuggingFaceH4/ultrachat_200k, split: train_sft"),
        rows("dataset: HuggingFaceH4/ultrachat_200k, split: train_sft+train_gen"),
        rows("dataset: HuggingFaceH4/ultrachat_200k, split: train_gen", "prompt"),
        rows(f"{SUMS}, split: all, {NAMES}", "prompt_completion"),
        rows(f'{SUMS}, split: "train[:100]", {NAMES}', "prompt_completion"),
        rows(SUMS, "question"),
    ],
)
def test_what_is_sound_or_not_said_is_passed_over(text: str, checked: Checked) -> None:
    assert codes(checked(text)) == []


@pytest.mark.parametrize(
    ("token", "text", "found", "words"),
    [
        (STRANGER, recipe("{base: meta-llama/Llama-3.2-1B-Instruct}"), ["LR922"], "has not been let in"),
        (MEMBER, recipe("{base: meta-llama/Llama-3.2-1B-Instruct}"), [], ""),
        (STRANGER, recipe("{base: house/private}"), ["LR921"], "or the token may not read it"),
        (MEMBER, recipe("{base: house/private}"), [], ""),
        ("hf_withdrawn", recipe("{base: house/private}"), ["LR923"], "settings/tokens"),
    ],
)
def test_what_may_be_read_depends_on_the_token(
    token: str, text: str, found: list[str], words: str, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    judged = checked(text)
    assert codes(judged) == found
    assert all(words in f"{one.message}; {one.help}" and token not in f"{one}" for one in judged.findings)


# -- what rules believe, and what is so --


def published(server: StandIn, repo: str, **changed: object) -> None:
    """The Hub has another `config.json` for a model than the tables."""
    one = server.world["models", repo]
    assert not isinstance(one, str)
    config = one.files["config.json"]
    assert isinstance(config, dict)
    server.world["models", repo] = type(one)({**one.files, "config.json": {**config, **changed}}, tags=one.tags)


def test_the_real_positions_are_trusted_in_either_direction(checked: Checked, server: StandIn) -> None:
    text = recipe(training="{max_length: 41000}")
    assert codes(checked(text)) == ["LR933"]
    published(server, "Qwen/Qwen3-0.6B", max_position_embeddings=131072)
    assert codes(checked(text)) == []
    published(server, "Qwen/Qwen3-0.6B", max_position_embeddings=4096)
    (found,) = checked(recipe(training="{max_length: 8192}")).findings
    assert (found.code, found.help) == ("LR933", "use at most 4096")


def test_the_real_weights_are_trusted_and_not_the_name(checked: Checked, server: StandIn) -> None:
    server.world["models", "house/Qwen3-AWQ"] = server.world["models", "Qwen/Qwen3-0.6B"]
    assert codes(checked(recipe("{base: house/Qwen3-AWQ}"))) == []
    published(server, "house/Qwen3-AWQ", quantization_config={"quant_method": "awq"})
    (found,) = checked(recipe("{base: house/Qwen3-AWQ}")).findings
    assert (found.code, found.message) == ("LR932", "`house/Qwen3-AWQ` is stored quantized (awq)")


def test_a_silence_of_the_rule_silences_the_check_too(checked: Checked) -> None:
    text = recipe(training="{max_length: 41000}  # llmrecipe: ignore[CODE]")
    assert codes(checked(text)) == ["LR933"]
    for code in ("LR933", "LR210"):
        assert codes(checked(text.replace("CODE", code))) == []


def test_figures_of_a_text_model_are_found_in_its_section(checked: Checked, server: StandIn) -> None:
    published(server, "Qwen/Qwen3-0.6B", max_position_embeddings=None, text_config={"max_position_embeddings": 512})
    assert codes(checked(recipe())) == ["LR933"]


def test_a_recipe_that_goes_on_from_another_has_the_figures_of_where_that_began(checked: Checked) -> None:
    first = recipe()
    second = recipe("{base: {recipe: style}}", training="{max_length: 41000}").replace("name: style", "name: longer")
    (found,) = checked(f"{first}---\n{second}").findings
    assert (found.code, found.span.line) == ("LR933", 13)


# -- what the libraries do --


@pytest.mark.parametrize("card", [one.card for one in WORLD.values() if isinstance(one, Published) and one.card])
def test_configurations_and_the_default_are_those_of_datasets(card: dict[str, Any]) -> None:
    configs = MetadataConfigs.from_dataset_card_data(DatasetCardData(**card))
    assert names(card) == list(configs)
    assert default(card) == (configs.get_default_config_name() if configs else None)


@pytest.mark.parametrize("marked", [(), ("b",), ("default",), ("a", "b")])
def test_the_default_is_chosen_as_datasets_does(marked: tuple[str, ...]) -> None:
    each = dict.fromkeys(("a", "b", *marked))
    card = {"configs": [{"config_name": name, "data_files": "x", "default": name in marked} for name in each]}
    configs = MetadataConfigs.from_dataset_card_data(DatasetCardData(**card))
    with pytest.raises(ValueError, match="several default") if len(marked) == 2 else nullcontext():
        assert default(card) == configs.get_default_config_name()


@pytest.mark.parametrize("spec", ["train", "train[:10%]", "train[10:20]", "v1.0", "train[:50%](closest)"])
def test_a_split_is_read_as_datasets_reads_it(spec: str) -> None:
    part = PART.fullmatch(spec)
    assert part is not None
    assert part["name"] == ReadInstruction.from_spec(spec)._relative_instructions[0].splitname


def test_the_names_of_files_are_those_of_transformers() -> None:
    assert (*SAFE, *PICKLED) == (
        transformers.utils.SAFE_WEIGHTS_NAME,
        transformers.utils.SAFE_WEIGHTS_INDEX_NAME,
        transformers.utils.WEIGHTS_NAME,
        transformers.utils.WEIGHTS_INDEX_NAME,
    )
    assert (CHAT_TEMPLATE_FILE, f"{CHAT_TEMPLATE_DIR}/") == ("chat_template.jinja", FURTHER_TEMPLATES)


@pytest.mark.parametrize("repo", ["Qwen/Qwen3-0.6B", "openai-community/gpt2", "google-t5/t5-small", "house/odd"])
@pytest.mark.parametrize("head", ["causal", "masked", "reward"])
def test_transformers_loads_what_is_said_to_be_known(repo: str, head: Head, server: StandIn, checked: Checked) -> None:
    server.world["models", "house/odd"] = model({"model_type": "of-tomorrow"})
    method = {"causal": "pretrain", "masked": "mlm", "reward": "reward"}[head]
    known = "LR931" not in codes(checked(recipe(f"{{base: {repo}}}", TEXT, f"{{kind: {method}}}")))
    try:
        config = transformers.AutoConfig.from_pretrained(repo)
    except ValueError:
        assert not known
    else:
        assert (type(config) in AUTO_CLASSES[head]._model_mapping) is known


# -- the disk --


def test_what_lies_in_the_cache_needs_no_room(checked: Checked, server: StandIn, tmp_path: Path) -> None:
    assert codes(checked(recipe(), free=GIB)) == ["LR939"]
    one = server.world["models", "Qwen/Qwen3-0.6B"]
    assert not isinstance(one, str)
    snapshot = tmp_path / "hub/models--Qwen--Qwen3-0.6B/snapshots" / one.commit("main")
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_text("")
    assert codes(checked(recipe(), free=GIB)) == []


def test_of_several_formats_only_the_weights_that_are_loaded_count() -> None:
    files = {
        "model-00001-of-00002.safetensors": 10,
        "model-00002-of-00002.safetensors": 10,
        "model.fp16.safetensors": 7,
    }
    files |= {"pytorch_model.bin": 20, "config.json": 1, "original/consolidated.safetensors": 20, "q8.gguf": 9}
    assert model_bytes(Repository("a/b", "0", files)) == 21
    del files["model-00001-of-00002.safetensors"], files["model-00002-of-00002.safetensors"]
    assert model_bytes(Repository("a/b", "0", files)) == 21
    assert model_bytes(Repository("a/b", "0", files, cached=frozenset({"pytorch_model.bin"}))) == 1


def test_rows_count_twice_and_a_repository_once(checked: Checked) -> None:
    twice = f"{{kind: hub, {SUMS}, {NAMES}, format: prompt_completion}}"
    text = recipe("{base: ./base}", source=f"{twice}, {twice}")
    assert codes(checked(text, free=6_000_000)) == []
    (found,) = checked(text, free=5_999_999).findings
    assert "in /cache" in found.message


# -- asking --


def test_a_repository_is_asked_about_once() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Answer:
        asked.append(question)
        return Refusal("missing")

    questions = [Question("model", "a/b"), Question("model", "a/b"), Question("model", "a/b", "v1")]
    assert set(answers(questions, ask)) == set(asked)
    assert len(asked) == 2
    assert answers([], ask) == {}


def test_after_a_silence_no_more_is_asked() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Answer:
        asked.append(question)
        return Refusal("silent", "no network")

    questions = [Question("model", f"a/{number}") for number in range(100)]
    found = answers(questions, ask)
    assert len(asked) <= 8
    assert {one.told for one in found.values() if isinstance(one, Refusal)} == {"no network"}


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    never = threading.Event()

    def ask(question: Question) -> Answer:
        never.wait(20)
        return Refusal("missing")

    (found,) = answers([Question("model", "a/b")], ask, patience=0.2).values()
    never.set()
    assert isinstance(found, Refusal)
    assert found.reason == "silent"


def test_a_bug_in_a_thread_is_not_taken_for_an_answer() -> None:
    def ask(question: Question) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answers([Question("model", "a/b")], ask)


def place(found: Diagnostic, text: str) -> str:
    line = text.splitlines()[found.span.line - 1]
    return line[found.span.column - 1 : found.span.end_column - 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (recipe("{base: house/private}"), "house/private"),
        (recipe("{base: Qwen/Qwen3-0.6B, revision: dev}"), "dev"),
        (recipe(source=PROMPTS, method="{kind: grpo, reward_model: house/nobody}"), "house/nobody"),
        (recipe("{base: {merge: {kind: slerp, models: [{model: a/a}, {model: Qwen/Qwen3-0.6B}]}}}"), "a/a"),
        (rows(f"{SUMS}, split: trian, {NAMES}", "prompt_completion"), "trian"),
        (rows(f"dataset: openai/gsm8k, {NAMES}", "prompt_completion"), "openai/gsm8k"),
        (rows(SUMS, "prompt_completion"), "prompt_completion"),
    ],
)
def test_a_finding_stands_at_the_value(text: str, value: str, checked: Checked) -> None:
    assert {place(one, text) for one in checked(text).findings} == {value}
