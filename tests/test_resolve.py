"""Documents of a file, what they extend and refer to, and overrides."""

import pytest

from llmrecipe.diagnostics import RecipeError
from llmrecipe.resolve import OverrideError, gather, resolve
from llmrecipe.resolve.files import MAX_EXTENDED


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes files into the current folder: `folder({"a.yaml": text})`."""
    monkeypatch.chdir(tmp_path)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    return write


def codes(path, *overrides):
    with pytest.raises(RecipeError) as caught:
        resolve(path, overrides)
    return [(one.code, one.span.file, one.span.line) for one in caught.value.diagnostics]


# -- extends --


def test_mappings_merge_and_lists_and_scalars_are_replaced(folder):
    folder(
        {
            "base.yaml": "a: {x: 1, y: [1, 2], z: {p: 1, q: 2}}\nb: base\n",
            "top.yaml": "extends: [base.yaml]\na: {y: [3], z: {q: 5, r: 6}}\nc: top\n",
        }
    )
    (source,) = resolve("top.yaml")
    assert source.data == {"a": {"x": 1, "y": [3], "z": {"p": 1, "q": 5, "r": 6}}, "b": "base", "c": "top"}


def test_files_are_merged_from_left_to_right_and_the_document_last(folder):
    folder(
        {
            "one.yaml": "a: 1\nb: 1\nc: 1\n",
            "two.yaml": "b: 2\nc: 2\n",
            "top.yaml": "extends: [one.yaml, two.yaml]\nc: 3\n",
        }
    )
    (source,) = resolve("top.yaml")
    assert source.data == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("base", "top", "merged"),
    [
        ("{kind: lora, r: 8}", "{kind: full}", {"kind": "full"}),
        ("{kind: lora, r: 8}", "{kind: dora, lora_alpha: 1}", {"kind": "dora", "lora_alpha": 1}),
        ("{kind: lora, r: 8}", "{kind: lora, lora_alpha: 1}", {"kind": "lora", "r": 8, "lora_alpha": 1}),
        ("{kind: lora, r: 8}", "{r: 4}", {"kind": "lora", "r": 4}),
        ("{r: 8}", "{kind: lora}", {"r": 8, "kind": "lora"}),
        ("{recipe: a}", "{architecture: {family: gpt2}}", {"architecture": {"family": "gpt2"}}),
        ("{architecture: {family: gpt2}}", "{recipe: a.yaml#a}", {"recipe": "a.yaml#a"}),
        ("[{kind: a, x: 1}]", "[{kind: a}]", [{"kind": "a"}]),
        ("{deep: {kind: a, x: 1}, kind: s}", "{deep: {kind: b}}", {"deep": {"kind": "b"}, "kind": "s"}),
    ],
)
def test_no_option_of_one_kind_leaks_into_another(folder, base, top, merged):
    folder(
        {
            "base.yaml": f"section: {base}\n",
            "top.yaml": f"extends: [base.yaml]\nsection: {top}\n",
            "a.yaml": "name: a\n",
        }
    )
    sources, _ = gather("top.yaml")
    assert sources[-1].data["section"] == merged


def test_a_kind_that_changes_and_changes_back_brings_nothing_back(folder):
    folder(
        {
            "one.yaml": "optimizer: {kind: muon, momentum: 0.9}\n",
            "two.yaml": "extends: [one.yaml]\noptimizer: {kind: sgd}\n",
            "top.yaml": "extends: [two.yaml]\noptimizer: {kind: muon}\n",
        }
    )
    (source,) = resolve("top.yaml")
    assert source.data["optimizer"] == {"kind": "muon"}


def test_spans_keep_their_own_file(folder):
    folder(
        {
            "sub/base.yaml": "model:\n  base: x\n  dtype: auto\n",
            "top.yaml": "name: top\nextends: [sub/base.yaml]\nmodel: {dtype: float32}\n",
        }
    )
    (source,) = resolve("top.yaml")
    places = {path: (span.file, span.line) for path, span in source.values.items()}
    assert places == {
        (): ("top.yaml", 1),
        ("name",): ("top.yaml", 1),
        ("model",): ("top.yaml", 3),
        ("model", "base"): ("sub/base.yaml", 2),
        ("model", "dtype"): ("top.yaml", 3),
    }
    assert source.keys[("model", "base")].file == "sub/base.yaml"
    assert ("extends",) not in source.keys


def test_extends_starts_from_the_file_in_which_it_stands(folder):
    folder(
        {
            "top.yaml": "extends: [sub/middle.yaml]\n",
            "sub/middle.yaml": "extends: [../base.yaml, own.yaml]\n",
            "sub/own.yaml": "b: 2\n",
            "base.yaml": "a: 1\n",
        }
    )
    (source,) = resolve("top.yaml")
    assert source.data == {"a": 1, "b": 2}


def test_one_of_several_documents_can_be_extended(folder):
    folder({"base.yaml": "name: a\nx: 1\n---\nname: b\nx: 2\n", "top.yaml": "extends: ['base.yaml#b']\nname: top\n"})
    (source,) = resolve("top.yaml")
    assert source.data == {"name": "top", "x": 2}


def test_a_cycle_of_extends_is_shown(folder):
    folder({"a.yaml": "extends: [b.yaml]\n", "b.yaml": "extends: [c.yaml]\n", "c.yaml": "extends: [a.yaml]\n"})
    with pytest.raises(RecipeError, match=r"a.yaml -> b.yaml -> c.yaml -> a.yaml"):
        resolve("a.yaml")
    assert codes("a.yaml") == [("LR017", "c.yaml", 1)]


def test_the_same_base_twice_is_no_cycle(folder):
    folder(
        {
            "top.yaml": "extends: [a.yaml, b.yaml]\n",
            "a.yaml": "extends: [base.yaml]\na: 1\n",
            "b.yaml": "extends: [base.yaml]\nb: 1\n",
            "base.yaml": "x: 1\n",
        }
    )
    (source,) = resolve("top.yaml")
    assert source.data == {"x": 1, "a": 1, "b": 1}


def test_an_endless_chain_of_files_is_refused(folder):
    folder({f"{i}.yaml": f"extends: [{i + 1}.yaml]\n" for i in range(MAX_EXTENDED + 5)})
    assert "LR013" in [code for code, _, _ in codes("0.yaml")]


def test_a_document_whose_base_is_missing_is_not_checked_further(folder):
    folder({"top.yaml": "extends: [nowhere.yaml]\nname: top\n"})
    sources, problems = gather("top.yaml")
    assert sources == []
    assert [(one.code, one.span.line, one.span.column) for one in problems] == [("LR001", 1, 11)]


def test_a_broken_base_is_reported_once_in_its_own_file(folder):
    folder({"base.yaml": "a: [\n", "top.yaml": "name: a\nextends: [base.yaml]\n---\nname: b\nextends: [base.yaml]\n"})
    assert codes("top.yaml") == [("LR002", "base.yaml", 1)]


# -- references --


def test_documents_come_after_what_they_need_and_each_once(folder):
    folder(
        {
            "all.yaml": "name: c\nbase: {recipe: b}\njudge: {recipe: a}\n---\nname: b\nbase: {recipe: a}\n"
            "---\nname: a\n",
        }
    )
    assert [source.data["name"] for source in resolve("all.yaml")] == ["a", "b", "c"]


def test_references_reach_into_other_files_and_take_only_what_is_needed(folder):
    folder(
        {
            "top.yaml": "name: top\nbase: {recipe: sub/other.yaml#b}\n",
            "sub/other.yaml": "name: a\nname: again\n---\nname: b\nbase: {recipe: ../far.yaml#d}\n---\nname: c\n",
            "far.yaml": "name: d\n",
        }
    )
    sources, _ = gather("top.yaml")
    assert [(source.file, source.data["name"]) for source in sources] == [
        ("far.yaml", "d"),
        ("sub/other.yaml", "b"),
        ("top.yaml", "top"),
    ]


def test_a_reference_in_a_base_starts_from_the_file_of_the_base(folder):
    folder(
        {
            "top.yaml": "name: top\nextends: ['sub/base.yaml#part']\n",
            "sub/base.yaml": "name: part\nbase: {recipe: near}\n---\nname: near\n",
        }
    )
    assert [source.data["name"] for source in resolve("top.yaml")] == ["near", "top"]


def test_a_name_takes_one_document_and_what_it_needs(folder):
    folder({"all.yaml": "name: a\n---\nname: b\nbase: {recipe: a}\n---\nname: c\n"})
    assert [source.data["name"] for source in resolve("all.yaml#b")] == ["a", "b"]
    assert codes("all.yaml#d") == [("LR015", "all.yaml", 1)]


def test_metadata_is_never_read(folder):
    folder({"a.yaml": "name: a\nmetadata: {from: {recipe: nobody}}\n"})
    assert len(resolve("a.yaml")) == 1


def test_a_cycle_of_recipes_is_shown(folder):
    folder(
        {"a.yaml": "name: a\nbase: {recipe: b.yaml#b}\n", "b.yaml": "name: b\nbase: {recipe: 'a.yaml#a'}\n"},
    )
    with pytest.raises(RecipeError, match="a -> b -> a"):
        resolve("a.yaml")
    assert codes("a.yaml") == [("LR016", "b.yaml", 2)]


def test_two_documents_of_one_name_are_refused_across_files(folder):
    folder({"a.yaml": "name: x\nbase: {recipe: b.yaml#x}\n", "b.yaml": "name: x\n"})
    assert codes("a.yaml") == [("LR014", "b.yaml", 1)]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("sfft", "did you mean `sft`?"),
        ("other.yaml", "`other.yaml#NAME`"),
        ("zzz", "`sft`, `dpo`"),
    ],
)
def test_an_unknown_recipe_comes_with_what_there_is(folder, reference, hint):
    folder({"a.yaml": f"name: sft\n---\nname: dpo\nbase: {{recipe: {reference}}}\n"})
    with pytest.raises(RecipeError) as caught:
        resolve("a.yaml")
    (problem,) = caught.value.diagnostics
    assert problem.code == "LR015"
    assert hint in str(problem.help)


def test_a_long_chain_of_documents_needs_no_recursion(folder):
    chain = "---\n".join(f"name: n{i}\nbase: {{recipe: n{i + 1}}}\n" for i in range(240))
    folder({"all.yaml": chain + "---\nname: n240\n"})
    assert resolve("all.yaml")[0].data["name"] == "n240"


def test_what_is_wrong_in_all_documents_comes_together(folder):
    folder(
        {
            "a.yaml": "name: a\nbase: {recipe: x}\n---\nname: b\nextends: [no.yaml]\n---\nname: a\nx: 1\nx: 2\n",
        }
    )
    assert [code for code, _, _ in codes("a.yaml")] == ["LR015", "LR001", "LR014", "LR010"]


# -- overrides --


def test_overrides_are_merged_last_and_parsed_as_yaml(folder):
    folder({"a.yaml": "name: a\ntraining: {seed: 1, optimizer: {kind: adamw, beta1: 0.9}}\nlist: [{x: 1}, {x: 2}]\n"})
    overrides = ["training.seed=3", "training.learning_rate=2e-5", "list.1.x=[a, b]", "new.deep.key=yes", "list.0.y="]
    (source,) = resolve("a.yaml", overrides)
    assert source.data["training"] == {"seed": 3, "optimizer": {"kind": "adamw", "beta1": 0.9}, "learning_rate": 2e-5}
    assert source.data["list"] == [{"x": 1, "y": None}, {"x": ["a", "b"]}]
    assert source.data["new"] == {"deep": {"key": "yes"}}


def test_an_override_is_found_in_its_argument(folder):
    folder({"a.yaml": "name: a\ntraining: {seed: 1}\n"})
    (source,) = resolve("a.yaml", ["x=1", "training.seed={a: b}"])
    spans = {path: source.values[path] for path in [("training", "seed"), ("training", "seed", "a"), ("training",)]}
    found = [(span.file, span.line, span.column, span.end_column) for span in spans.values()]
    assert found == [("--set", 2, 15, 21), ("--set", 2, 19, 20), ("a.yaml", 2, 11, 20)]
    key = source.keys[("training", "seed")]
    assert (key.line, key.column, key.end_column) == (2, 10, 14)


@pytest.mark.parametrize("order", [1, -1])
def test_a_kind_that_an_override_changes_drops_the_options_of_the_old_one(folder, order):
    folder({"a.yaml": "adapter: {kind: dora, lora_dropout: 0.1}\n"})
    (source,) = resolve("a.yaml", ["adapter.kind=lora", "adapter.r=4"][::order])
    assert source.data["adapter"] == {"kind": "lora", "r": 4}


def test_an_override_reaches_the_document_that_it_names(folder):
    folder({"a.yaml": "name: a\n---\nname: b\nbase: {recipe: c.yaml#c}\n", "c.yaml": "name: c\n"})
    names = {source.data["name"]: source.data for source in resolve("a.yaml", ["b:x=1", "c:x=2"])}
    assert (names["b"]["x"], names["c"]["x"]) == (1, 2)
    assert "x" not in names["a"]


def test_an_override_without_a_name_is_for_the_one_document_that_was_asked_for(folder):
    folder({"a.yaml": "name: a\n---\nname: b\nbase: {recipe: a}\n"})
    names = {source.data["name"]: source.data for source in resolve("a.yaml#b", ["x=1"])}
    assert "x" in names["b"]
    assert "x" not in names["a"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["x=1"], "several documents"),
        (["c:x=1"], "no document is named `c`"),
        (["a:x"], "write PATH=VALUE"),
        (["a:=1"], "write PATH=VALUE"),
        (["a:x..y=1"], "write PATH=VALUE"),
        (["a:x[0].y[1]=2"], r"write x\.0\.y\.1=2"),
        (["a:x=[1"], "does not end"),
        (["a:x={b: 1, b: 2}"], "written twice"),
        (["a:list.7=1"], "has 1 item"),
        (["a:extends=[b.yaml]"], "read before overrides"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(folder, overrides, message):
    folder({"a.yaml": "name: a\nlist: [1]\n---\nname: b\n"})
    with pytest.raises(OverrideError, match=message):
        resolve("a.yaml", overrides)
