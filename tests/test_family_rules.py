"""What rules know of families through the table of architectures: published models, folders with a config.json."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrecipe.document import Document
from llmrecipe.lint import lint

RECIPE = """\
version: 1
name: style
model: {base: BASE, MODEL}
data: {train: [{kind: files, paths: [rows.jsonl], format: messages}]}
method: {kind: sft}
training: {seed: 1}
hardware: {accelerator: h100-80gb, num_accelerators: 8}
DISTRIBUTED
"""
RULES = ("LR216", "LR218", "LR224", "LR226", "LR231", "LR235", "LR237", "LR238", "LR243", "LR248", "LR450", "LR494",
         "LR498", "LR820", "LR822", "LR823")  # fmt: skip
PHI, OSS, MIXTRAL = "microsoft/phi-4", "openai/gpt-oss-20b", "mistralai/Mixtral-8x7B-v0.1"
QWEN2, EXPERTS, GEMMA2 = "Qwen/Qwen2.5-7B", "Qwen/Qwen3-30B-A3B", "google/gemma-2-9b-it"

Found = Callable[..., dict[str, str]]


@pytest.fixture
def found(read: Callable[..., list[Document]], tmp_path: Path) -> Found:
    """Codes of RULES with what they say of a model."""
    (tmp_path / "rows.jsonl").write_text("{}\n")

    def found(base: str, model: str, distributed: str = "distributed: {kind: ddp}") -> dict[str, str]:
        text = RECIPE.replace("BASE", base).replace("MODEL", model).replace("DISTRIBUTED", distributed)
        return {d.code: f"{d.message}; {d.help}" for d in lint(read(text)) if d.code in RULES}

    return found


def lora(options: str) -> str:
    return f"adapter: {{kind: lora, {options}}}"


@pytest.mark.parametrize(
    ("base", "model"),
    [
        (PHI, lora("target_modules: [qkv_proj, o_proj, gate_up_proj, down_proj]")),
        (PHI, lora("rank_pattern: {qkv_proj: 8}, modules_to_save: [lm_head, embed_tokens, input_layernorm]")),
        (QWEN2, lora("bias: all")),
        (QWEN2, lora("target_modules: [q_proj, o_proj], bias: lora_only")),
        (QWEN2, lora("modules_to_save: [norm], trainable_token_indices: [3]")),
        (MIXTRAL, lora("target_modules: all-linear")),
        (MIXTRAL, lora("target_modules: [q_proj, w1, w2, w3]")),
        (MIXTRAL, lora("target_modules: [q_proj, gate], target_parameters: [mlp.experts.down_proj]")),
        (MIXTRAL, lora("target_modules: all-linear, exclude_modules: [q_proj, k_proj, v_proj, o_proj]")),
        (EXPERTS, lora("target_modules: [q_proj, gate_proj, up_proj, down_proj]")),
        (EXPERTS, lora("modules_to_save: [gate]")),
        (EXPERTS, lora("target_modules: [q_proj, mlp.experts.down_proj]")),
        (OSS, f"attention: eager, {lora('target_modules: all-linear, target_parameters: [mlp.experts.gate_up_proj]')}"),
        (OSS, f"attention: flash_attention_3, {lora('target_parameters: [mlp.experts.down_proj], bias: lora_only')}"),
        (GEMMA2, f"attention: flex_attention, {lora('target_modules: [q_proj]')}"),
        ("./base", lora("target_modules: [qkv_proj], bias: all")),
        ("someone/else", lora("target_modules: [anything], modules_to_save: [router, dense]")),
    ],
)
def test_what_a_family_has_is_left_alone(found: Found, tmp_path: Path, base: str, model: str) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3", "attention_bias": True}))
    assert found(base, model) == {}


@pytest.mark.parametrize(
    ("base", "model", "code", "words"),
    [
        (PHI, lora("target_modules: [q_proj, o_proj]"), "LR235", "`phi3` have no layer `q_proj`"),
        (PHI, lora("modules_to_save: [self_atn]"), "LR218", "`phi3` have no `self_atn`"),
        (PHI, lora("target_parameters: [mlp.experts.down_proj]"), "LR238", "`phi3` have no weight"),
        (PHI, lora("bias: all"), "LR823", "no biases"),
        (
            QWEN2,
            lora("target_modules: [o_proj], bias: lora_only"),
            "LR823",
            "that get an update have no biases",
        ),
        (QWEN2, lora("target_modules: [q_proj, mlp]"), "LR235", "no layer `mlp`"),
        (MIXTRAL, lora("target_modules: [q_proj, gate_proj]"), "LR235", "no layer `gate_proj`"),
        (MIXTRAL, lora("target_modules: [q_proj, w1, w2]"), "LR235", "`w1` is a part of the weight `gate_up_proj`"),
        (MIXTRAL, lora("target_modules: [q_proj, k_proj]"), "LR226", "or write `all-linear`"),
        (MIXTRAL, lora("lora_dropout: 0.1"), "LR237", "the experts of `mixtral` have no inputs"),
        (EXPERTS, "adapter: {kind: dora}", "LR237", "`dora` does not adapt the experts of `qwen3_moe`"),
        (EXPERTS, lora("target_modules: [q_proj, gate]"), "LR226", "get no update"),
        (OSS, f"attention: eager, {lora('r: 8')}", "LR226", "which `all-linear` passes over"),
        (OSS, f"attention: eager, {lora('target_modules: [q_proj, down_proj]')}", "LR235", "no layer `down_proj`"),
        (
            OSS,
            lora("target_parameters: [mlp.experts.down_proj]"),
            "LR231",
            "`gpt_oss` have no `sdpa`; use `eager` or `flex_attention`",
        ),
        (GEMMA2, lora("r: 8"), "LR231", "have no `sdpa`; use `eager` or `flex_attention` or `flash_attention_2`"),
        (GEMMA2, f"attention: eager, {lora('modules_to_save: [lm_head]')}", "LR224", "shares its weights"),
        ("./base", lora("target_modules: [q_proj]"), "LR235", "`phi3` have no layer `q_proj`"),
        ("./base", lora("target_modules: [qkv_proj], modules_to_save: [mlpp]"), "LR218", "no `mlpp`"),
        ("someone/else", lora("modules_to_save: [q_proj]") + ", quantization: {kind: nf4}", "LR248", "`q_proj`"),
    ],
)
def test_what_a_family_lacks_is_said(
    found: Found, tmp_path: Path, base: str, model: str, code: str, words: str
) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    assert words in found(base, model)[code]


def test_a_folder_of_another_direction_is_known_by_its_family(
    read: Callable[..., list[Document]], tmp_path: Path
) -> None:
    (tmp_path / "rows.txt").write_text("text\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({"model_type": "modernbert"}))
    text = RECIPE.replace("BASE, MODEL", "./base").replace("jsonl], format: messages", "txt], format: text")
    text = text.replace("DISTRIBUTED", "distributed: {kind: fsdp}")
    assert {d.code for d in lint(read(text)) if d.severity == "error"} == {"LR360"}
    packed = text.replace("kind: sft", "kind: mlm").replace("text}]}", "text}], packing: bfd}")
    assert {d.code for d in lint(read(packed)) if d.severity == "error"} == {"LR130"}
    (tmp_path / "base" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert {d.code for d in lint(read(packed)) if d.severity == "error"} == {"LR415"}


@pytest.mark.parametrize(
    ("written", "wrong"),
    [({"model_type": "gemma3_text"}, True), ({"model_type": "qwen3"}, False),
     ({"model_type": "qwen3", "tie_word_embeddings": True}, True),
     ({"model_type": "gemma3_text", "tie_word_embeddings": False}, False)],
)  # fmt: skip
def test_a_folder_says_whether_its_ends_are_tied(
    found: Found, tmp_path: Path, written: dict[str, object], wrong: bool
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(written))
    assert ("LR224" in found("./base", lora("modules_to_save: [lm_head]"))) == wrong


QWEN3 = {"model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28}


@pytest.mark.parametrize(
    ("base", "reference", "words"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "`hidden_size` is `2048`, that of the base `1024`"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B-Base", None),
        ("Qwen/Qwen3-0.6B", "./base", None),
        ("Qwen/Qwen3-1.7B", "./base", "`hidden_size` is `1024`, that of the base `2048`"),
        ("./base", "meta-llama/Llama-3.2-1B", "`family` is `llama`, that of the base `qwen3`"),
        ("someone/else", "./base", None),
    ],
)
def test_a_reference_follows_only_where_its_shape_is_not_known_to_differ(
    read: Callable[..., list[Document]], tmp_path: Path, base: str, reference: str, words: str | None
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(QWEN3))
    text = RECIPE.replace("BASE, MODEL", base).replace("DISTRIBUTED", "").replace("messages", "preference")
    text = text.replace("{kind: sft}", f"{{kind: dpo, ref_model: {reference}, sync_ref_model: {{}}}}")
    found = [one.message for one in lint(read(text)) if one.code == "LR322"]
    assert [words in message for message in found if words] == ([True] if words else [])
    assert len(found) == bool(words)


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"model_type": 3}', '{"model_type": "own"}', None])
def test_a_folder_that_does_not_say_its_family_has_none(found: Found, tmp_path: Path, written: str | None) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    if written is not None:
        (folder / "config.json").write_text(written)
    assert found("./base", lora("target_modules: [anything]")) == {}


def test_code_that_comes_with_a_model_may_name_its_modules_as_it_likes(found: Found, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    assert found("./base", lora("target_modules: [W_pack]") + ", trust_remote_code: true") == {}


@pytest.mark.parametrize(
    ("base", "distributed", "code", "words"),
    [
        (PHI, "{kind: fsdp, wrap: [Phi3DecoderLayer, Phi3MLP]}", None, ""),
        (PHI, "{kind: fsdp, wrap: [Embedding, OwnLayer]}", None, ""),
        (PHI, "{kind: fsdp, wrap: [LlamaMLP]}", "LR450", "of the family `llama`, and this model of `phi3`"),
        (PHI, "{kind: fsdp, wrap: [Phi3DecoderLayr]}", "LR450", "no class `Phi3DecoderLayr`"),
        (PHI, "{kind: fsdp, tensor_parallel_size: 2}", "LR494", "`phi3` cannot be split"),
        (QWEN2, "{kind: fsdp, tensor_parallel_size: 2}", None, ""),
        (OSS, "{kind: fsdp, tensor_parallel_size: 2}", "LR494", "`gpt_oss` cannot be split"),
        (GEMMA2, "{kind: fsdp, context_parallel_size: 2}", "LR498", "`gemma2` cannot be shared out"),
        (MIXTRAL, "{kind: fsdp, context_parallel_size: 2}", "LR498", "`mixtral` cannot be shared out"),
        (PHI, "{kind: fsdp, context_parallel_size: 2}", None, ""),
    ],
)
def test_what_a_family_can_do_over_devices(
    found: Found, base: str, distributed: str, code: str | None, words: str
) -> None:
    said = found(
        base, "attention: sdpa" if base not in (OSS, GEMMA2) else "attention: eager", f"distributed: {distributed}"
    )
    assert set(said) == ({code} if code else set())
    assert words in said.get(code or "", "")


SERVED = """\
version: 1
name: chat
model: {base: BASE}
hardware: {accelerator: h100-80gb}
serving: {kind: vllm, extra: {quantization: gpt_oss_mxfp4}}
"""


@pytest.mark.parametrize(("base", "codes"), [(OSS, set()), (QWEN2, {"LR608"}), ("someone/else", set())])
def test_weights_that_are_published_quantized_are_served_as_they_are(
    read: Callable[..., list[Document]], base: str, codes: set[str]
) -> None:
    found = {d.code for d in lint(read(SERVED.replace("BASE", base)))}
    assert found & {"LR231", "LR608"} == codes  # Nothing here computes attention by Transformers.
