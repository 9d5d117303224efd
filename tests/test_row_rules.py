"""What rules of rows, templates, steps and the names in an adapter find beside their own examples, and leave alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrecipe.document import Document
from llmrecipe.facts import tokenizers
from llmrecipe.lint import lint

RECIPE = """\
version: 1
name: style
model: MODEL
data: {DATA}
method: {METHOD}
TRAINING
"""
FILES = "train: [{kind: files, paths: [rows.jsonl], format: messages}]"
OLDER = {"LR101", "LR314", "LR320", "LR701", "LR834", "LR835", "LR382"}
"""Rules of which these recipes are not about."""

Found = Callable[..., dict[str, str]]
GLOB = '"*.jsonl"'


@pytest.fixture
def found(read: Callable[..., list[Document]], tmp_path: Path) -> Found:
    """Code -> message."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "short.txt").write_text("a\n" * 10)
    (tmp_path / "long.txt").write_text("a\n" * 9000)
    (tmp_path / "turns.jinja").write_text("{{ '<bos>' }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}")

    def found(
        model: str = "{base: Qwen/Qwen3-8B}", data: str = FILES, method: str = "kind: sft", training: str = ""
    ) -> dict[str, str]:
        text = RECIPE
        for word, value in {"MODEL": model, "DATA": data, "METHOD": method, "TRAINING": training}.items():
            text = text.replace(word, value)
        return {d.code: d.message for d in lint(read(text)) if d.code not in OLDER}

    return found


def files(*names: str, form: str = "messages", more: str = "") -> str:
    return f"{{kind: files, paths: [{', '.join(names)}], format: {form}{more}}}"


def hub(split: str = "train", more: str = "") -> str:
    return f"{{kind: hub, dataset: a/b, split: {split}, format: messages{more}}}"


DATA: dict[str, tuple[str, set[str]]] = {
    "one file": (FILES, set()),
    "a file as a path and as a glob": (f"train: [{files('rows.jsonl', GLOB)}]", {"LR116"}),
    "a file by another way": (f"train: [{files('rows.jsonl')}, {files('./rows.jsonl')}]", {"LR116"}),
    "a file that is not there, twice": (f"train: [{files('no.jsonl')}, {files('no.jsonl')}]", set()),
    "an address, twice": (f"train: [{files('https://a/b.jsonl')}, {files('https://a/b.jsonl')}]", {"LR116"}),
    "a file with other columns": (
        f"train: [{files('rows.jsonl')}, {files('rows.jsonl', more=', columns: {messages: other}')}]", set(),
    ),
    "two splits": (f"train: [{hub('train')}, {hub('more')}]", set()),
    "one split, twice": (f"train: [{hub('train')}, {hub('train')}]", {"LR116"}),
    "two revisions": (f"train: [{hub(more=', revision: v1')}, {hub(more=', revision: v2')}]", set()),
    "the split called Test": (f"train: [{hub('Test')}]", {"LR118"}),
    "a split called testimony": (f"train: [{hub('testimony')}]", set()),
    "another split to validate with": (f"train: [{hub('train')}], validation: {{sources: [{hub('test')}]}}", set()),
    "the same to validate with": (f"train: [{hub('a')}], validation: {{sources: [{hub('a')}]}}", {"LR114"}),
    "half held out": (f"{FILES}, validation: {{fraction: 0.5}}", set()),
    "more held out": (f"{FILES}, validation: {{fraction: 0.6}}", {"LR139"}),
    "a row held out": (f"train: [{hub(more=', max_samples: 100')}], validation: {{fraction: 0.01}}", set()),
    "less than one": (f"train: [{hub(more=', max_samples: 99')}], validation: {{fraction: 0.01}}", {"LR119"}),
    "uniform before and after": (
        f"{FILES}, prepare: [{{kind: normalize}}, {{kind: deduplicate}}, {{kind: normalize, unicode: NFKC}}]", set(),
    ),
    "the same step with other options": (
        f"{FILES}, prepare: [{{kind: normalize}}, {{kind: normalize, unicode: NFKC}}]", set(),
    ),
    "words that just fit": (f"{FILES}, prepare: [{{kind: filter, min_words: 1023}}]", set()),
    "words that do not fit": (f"{FILES}, prepare: [{{kind: filter, min_words: 1024}}]", {"LR136"}),
    "words that are split": (f"{FILES}, packing: bfd_split, prepare: [{{kind: filter, min_words: 1024}}]", set()),
    "roles of columns of their own": (
        f"train: [{files('rows.jsonl', form='prompt_completion', more=', columns: {prompt: a, completion: b}')}]",
        set(),
    ),
    "a short text": (f"train: [{files('short.txt', form='text')}]", set()),
    "a long text": (f"train: [{files('long.txt', form='text')}]", {"LR138"}),
    "a long text by lines": (f"train: [{files('long.txt', form='text', more=', sample_by: line')}]", set()),
    "a long text that is split": (f"train: [{files('long.txt', form='text')}], packing: wrapped", set()),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_rules_of_rows_at_their_edges(case: str, found: Found) -> None:
    data, codes = DATA[case]
    assert set(found(data=data)) == codes


def test_pretraining_splits_long_texts_by_itself_and_with_a_curriculum_it_cuts_them(found: Found) -> None:
    text = f"train: [{files('long.txt', form='text')}]"
    assert found(data=text, method="kind: pretrain") == {}
    assert set(found(data=f"{text}, curriculum: {{kind: length}}", method="kind: pretrain")) == {"LR138"}


ADAPTERS: dict[str, tuple[str, set[str]]] = {
    "a norm and an embedding": ("modules_to_save: [input_layernorm, embed_tokens, lm_head]", set()),
    "a whole block": ("modules_to_save: [mlp]", set()),
    "a module by its path": ("modules_to_save: [model.embed_tokens]", set()),
    "an empty name": ('modules_to_save: [""]', {"LR218"}),
    "a layer both ways, of all": ("modules_to_save: [q_proj]", set()),
    "some left out": ("exclude_modules: [q_proj]", set()),
    "all left out": (
        "exclude_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]", {"LR216"},
    ),
    "a pattern of several layers": ('rank_pattern: {"(q|k)_proj": 8}', set()),
    "a pattern that begins like a layer": ('rank_pattern: {"q_proj|nothing": 8}', set()),
    "a path with a number": ('rank_pattern: {"layers.0.self_attn.q_proj": 8}', set()),
    "a pattern beside the names": ('target_modules: [q_proj], rank_pattern: {"[kv]_proj": 8}', {"LR820"}),
    "a pattern that cannot be": ('alpha_pattern: {"q_proj(": 8}', {"LR229"}),
    "a rank with a scale of its own": ("rank_pattern: {q_proj: 512}, alpha_pattern: {q_proj: 512}", set()),
    "a rank without": ("rank_pattern: {q_proj: 512}", {"LR220"}),
    "a rank with the root": ("use_rslora: true, rank_pattern: {q_proj: 512}", set()),
    "the last token": ("trainable_token_indices: [151935]", set()),
    "one more": ("trainable_token_indices: [151936]", {"LR215"}),
    "layers with their numbers": ("target_modules: [q_proj], layers_to_transform: [35]", set()),
}  # fmt: skip


@pytest.mark.parametrize("case", ADAPTERS)
def test_rules_of_names_in_an_adapter_at_their_edges(case: str, found: Found) -> None:
    adapter, codes = ADAPTERS[case]
    assert set(found(f"{{base: Qwen/Qwen3-8B, adapter: {{kind: lora, {adapter}}}}}")) == codes


def test_an_unknown_model_may_have_any_layer(found: Found) -> None:
    adapter = "adapter: {kind: lora, modules_to_save: [mystery], rank_pattern: {riddle: 16}, bias: all}"
    assert found(f"{{base: nobody/knows, {adapter}}}") == {}


def test_the_head_of_a_reward_model_is_its_score(found: Found) -> None:
    data = f"train: [{files('rows.jsonl', form='preference')}]"
    model = "{base: Qwen/Qwen3-8B, adapter: {kind: lora, modules_to_save: [NAME]}}"
    assert found(model.replace("NAME", "score"), data, "kind: reward") == {}
    assert found(model.replace("NAME", "lm_head"), data, "kind: reward") == {"LR218": "a reward model has no `lm_head`"}


TOKENIZERS: dict[str, tuple[str, str, str, set[str]]] = {
    "a chat model": ("Qwen/Qwen3-0.6B", "{kind: reuse}", FILES, set()),
    "a base with a template": ("Qwen/Qwen3-0.6B-Base", "{kind: reuse}", FILES, set()),
    "a base without": ("meta-llama/Llama-3.2-1B", "{kind: reuse}", FILES, {"LR258"}),
    "a base without, for texts": (
        "meta-llama/Llama-3.2-1B", "{kind: reuse}", f"train: [{files('short.txt', form='text')}]", set(),
    ),
    "a base with a template of our own": (
        "meta-llama/Llama-3.2-1B", "{kind: reuse, chat_template: turns.jinja}", FILES, set(),
    ),
    "a model that nobody knows": ("nobody/knows", "{kind: reuse, chat_template: chatml}", FILES, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENIZERS)
def test_rules_of_templates_at_their_edges(case: str, found: Found) -> None:
    base, tokenizer, data, codes = TOKENIZERS[case]
    assert set(found(f"{{base: {base}}}\ntokenizer: {tokenizer}", data)) == codes


def test_the_help_for_a_model_without_a_template_says_what_it_has_tokens_for(
    read: Callable[..., list[Document]], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    for base, word in (("meta-llama/Llama-3.2-1B", "<|end_of_text|>"), ("HuggingFaceTB/SmolLM2-360M", "chatml")):
        text = RECIPE.replace("MODEL", f"{{base: {base}}}").replace("DATA", FILES).replace("METHOD", "kind: sft")
        (diagnostic,) = [d for d in lint(read(text.replace("TRAINING", ""))) if d.code == "LR258"]
        assert word in (diagnostic.help or "")


STEPS: dict[str, tuple[str, str, set[str]]] = {
    "two weights in the mean": ("max_steps: 100, averaging: {kind: swa, every_steps: 24}", "kind: sft", set()),
    "one": ("max_steps: 100, averaging: {kind: swa, every_steps: 25}", "kind: sft", {"LR345"}),
    "epochs": ("averaging: {kind: swa, every_steps: 2500}", "kind: sft", set()),
    "a ramp to the end": ("max_steps: 100, optimizer: {kind: ademamix, ramp_steps: 100}", "kind: sft", set()),
    "a ramp over the end": ("max_steps: 100, optimizer: {kind: ademamix, ramp_steps: 101}", "kind: sft", {"LR346"}),
    "two validations": ("max_steps: 100, eval_steps: 50, checkpoints: {best: {}}", "kind: sft", set()),
    "one validation": ("max_steps: 99, eval_steps: 50, checkpoints: {best: {}}", "kind: sft", {"LR357"}),
    "the likelihood": ("eval_steps: 5, early_stopping: {}", "kind: sft", set()),
    "a loss of another kind": ("eval_steps: 5, early_stopping: {}", "kind: sft, loss_type: dft", {"LR366"}),
    "half of the layers": ("gradient_checkpointing: {every_n_layers: 2}", "kind: sft", set()),
    "none but one": ("gradient_checkpointing: {every_n_layers: 36}", "kind: sft", {"LR824"}),
    "one process": ("extra: {average_tokens_across_devices: false}", "kind: sft", set()),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_rules_of_steps_at_their_edges(case: str, found: Found) -> None:
    training, method, codes = STEPS[case]
    data = f"{FILES}, validation: {{fraction: 0.1}}" if "eval_steps" in training else FILES
    assert set(found(data=data, method=method, training=f"training: {{{training}}}")) == codes


ASKED, ANSWERED = "a question of some length", "short"
ROWS: dict[str, tuple[str, list[object], set[str]]] = {
    "messages": (
        "messages", [{"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]}],
        {"LR358"},
    ),
    "an assistant that says more": (
        "messages", [{"messages": [{"role": "user", "content": ANSWERED}, {"role": "assistant", "content": ASKED}]}],
        set(),
    ),
    "conversations": (
        "conversations", [{"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]}],
        {"LR358"},
    ),
    "instructions": ("instruction", [{"instruction": ASKED, "output": ANSWERED}], {"LR358"}),
    "prompts, whose completion alone is learned": ("prompt_completion", [{"prompt": ASKED, "completion": "a"}], set()),
    "no conversations": ("messages", [{"messages": "text"}, [], {"messages": [1, {"role": "user"}]}], set()),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_whose_words_are_learned_is_seen_in_the_first_rows(case: str, found: Found, tmp_path: Path) -> None:
    form, rows, codes = ROWS[case]
    (tmp_path / "rows.jsonl").write_text("no json\n" + "".join(json.dumps(row) + "\n" for row in rows))
    data = f"train: [{files('rows.jsonl', form=form)}]"
    assert set(found(data=data)) == codes
    if form != "prompt_completion":
        assert found(data=data, method="kind: sft, assistant_only_loss: false") == {}


def test_rows_beyond_the_first_lines_are_not_read(found: Found, tmp_path: Path) -> None:
    short = json.dumps({"messages": [{"role": "assistant", "content": "x" * 1000}]}) + "\n"
    long = json.dumps({"messages": [{"role": "user", "content": "y" * 1000}]}) + "\n"
    (tmp_path / "rows.jsonl").write_text(short * 70 + long * 200)
    assert found() == {}
    (tmp_path / "rows.jsonl").write_text(long * 70 + short * 200)
    assert found()["LR358"].startswith("100% of what the first ")


def test_what_is_known_of_a_tokenizer_holds_together() -> None:
    for name, known in tokenizers().items():
        assert known.chat_template is (known.end_of_turn is not None), name
        assert known.source.startswith("https://"), name
        assert known.turns_marked is not True or known.chat_template, name
