import re
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from llmrecipe.document import Document
from llmrecipe.estimate import parameters
from llmrecipe.lint import lint
from llmrecipe.recipe.data import Hub
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

FOLDER = Path(__file__).parent.parent / "recipes"
SHIPPED = sorted(path for path in FOLDER.glob("*.yaml") if re.search(r"^version:", path.read_text("utf-8"), re.M))
TEMPLATES = sorted((FOLDER / "chat_templates").glob("*.jinja"))
COMMIT = re.compile(r"[0-9a-f]{40}")

each_recipe = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def documents(path: Path) -> list[Document]:
    return validate(resolve(str(path), ()))


@each_recipe
def test_a_shipped_recipe_is_clean(path: Path) -> None:
    assert lint(documents(path)) == []


@each_recipe
def test_a_shipped_recipe_opens_with_why_it_exists(path: Path) -> None:
    opening = path.read_text("utf-8").partition("version:")[0].splitlines()
    assert opening
    assert all(line.startswith("# ") and len(line) <= 120 for line in opening)


@each_recipe
def test_a_recipe_has_the_name_of_its_file(path: Path) -> None:
    assert documents(path)[-1].recipe.name == path.stem


@each_recipe
def test_what_comes_from_the_hub_is_pinned_by_commit(path: Path) -> None:
    recipe = documents(path)[-1].recipe
    assert recipe.data is not None
    validation = recipe.data.validation
    sources = [*recipe.data.train, *((validation.sources or []) if validation else [])]
    revisions = [source.revision for source in sources if isinstance(source, Hub)]
    revisions += [recipe.model.revision] if isinstance(recipe.model.base, str) else []
    assert revisions
    assert all(COMMIT.fullmatch(str(revision)) for revision in revisions)


@pytest.mark.parametrize("family", ["qwen3", "llama", "mistral", "gemma", "smollm", "falcon"])
def test_every_family_has_full_and_adapter_training(family: str) -> None:
    recipes = [documents(path)[-1].recipe for path in SHIPPED if path.stem.startswith(family)]
    adapters = {recipe.model.adapter.kind for recipe in recipes if recipe.method and recipe.method.kind == "sft"}
    assert "full" in adapters
    assert adapters & {"lora", "dora"}


def test_the_shipped_recipes_reach_every_method() -> None:
    kinds = {recipe.method.kind for path in SHIPPED if (recipe := documents(path)[-1].recipe).method}
    assert kinds >= {"pretrain", "sft", "dpo", "ppo", "grpo", "rloo", "reward", "kto", "orpo", "cpo", "distillation"}


def test_pretrain_7m_has_seven_million_parameters() -> None:
    recipe = documents(FOLDER / "pretrain-7m.yaml")[-1].recipe
    assert isinstance(recipe.model.base, FromScratch)
    assert isinstance(recipe.tokenizer, TrainTokenizer)
    assert parameters(recipe.model.base.architecture, recipe.tokenizer.vocab_size) == pytest.approx(7e6, rel=0.05)


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
]

RENDERED = {
    "falcon-3": "<|system|>\nBe brief.\n<|user|>\nOne?\n<|assistant|>\nTwo.<|endoftext|>\n"
    "<|user|>\nThree?\n<|assistant|>\nFour.<|endoftext|>\n",
    "gemma-3": "<bos><start_of_turn>user\nBe brief.\n\nOne?<end_of_turn>\n<start_of_turn>model\nTwo.<end_of_turn>\n"
    "<start_of_turn>user\nThree?<end_of_turn>\n<start_of_turn>model\nFour.<end_of_turn>\n",
    "llama-3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nFour.<|eot_id|>",
    "mistral": "<s>[INST] Be brief.\n\nOne?[/INST] Two.</s>[INST] Three?[/INST] Four.</s>",
}


def render(path: Path, conversation: list[dict[str, str]], **options: Any) -> tuple[str, list[tuple[int, int]]]:
    texts, marks = render_jinja_template(
        [conversation], chat_template=path.read_text("utf-8"), return_assistant_tokens_mask=True, **options
    )
    return texts[0], marks[0]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_says_the_turns_of_its_family(path: Path) -> None:
    assert render(path, CONVERSATION)[0] == RENDERED[path.stem]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_marks_what_the_assistant_says_and_how_it_ends(path: Path) -> None:
    text, marks = render(path, CONVERSATION)
    end = re.search(r"Four\.(<.*>)", text)
    assert end is not None
    assert [text[start:stop].strip() for start, stop in marks] == [f"Two.{end[1]}", f"Four.{end[1]}"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_prompt_is_what_stands_before_the_answer(path: Path) -> None:
    whole, marks = render(path, CONVERSATION)
    prompt, _ = render(path, CONVERSATION[:-1], add_generation_prompt=True)
    assert whole[: marks[-1][0]] == prompt
