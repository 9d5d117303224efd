"""Every error of the family LR0, what makes a document no recipe: code, name and manual page."""

from typing import NamedTuple

from llmrecipe.diagnostics import Diagnostic, Fix
from llmrecipe.source import Span


class DocumentError(NamedTuple):
    """One code with its manual page; the examples are parts of recipes."""

    code: str
    name: str
    what: str
    why: str
    example: str
    instead: str

    @property
    def page(self) -> str:
        """What it does, why that is bad, an example and its mend: Markdown."""
        return (
            f"## What it does\n{self.what}\n\n## Why is this bad?\n{self.why}\n\n"
            f"## Example\n```yaml\n{self.example.strip()}\n```\n\n## Use instead\n```yaml\n{self.instead.strip()}\n```"
        )


def document_error(name: str, message: str, span: Span, help: str | None = None, fix: Fix | None = None) -> Diagnostic:
    """The diagnostic of a document error, by its name."""
    return Diagnostic(BY_NAME[name].code, name, message, span, help, fix=fix)


DOCUMENT_ERRORS: tuple[DocumentError, ...] = (
    DocumentError(
        "LR001",
        "unreadable-file",
        "Checks that a recipe, a file that it extends, or a file that it refers to can be read as text in UTF-8.",
        "Nothing can be said about a file that is missing, is a folder, or holds bytes that are no text.",
        "extends: [bsae.yaml]",
        "extends: [base.yaml]",
    ),
    DocumentError(
        "LR002",
        "invalid-yaml",
        "Checks that the text is YAML: quotes and brackets are closed, keys line up, aliases repeat something.",
        "A parser that guesses reads another recipe than the one that was meant.",
        "metadata: {purpose: the house style",
        "metadata: {purpose: the house style}",
    ),
    DocumentError(
        "LR003",
        "unknown-key",
        "Checks that every key is one of its section. Sections are closed at every depth; only `metadata` is free.",
        "A misspelt option that is passed over in silence trains another model than the recipe says.",
        "training:\n  batch_size: 4",
        "training:\n  per_device_train_batch_size: 4",
    ),
    DocumentError(
        "LR004",
        "unknown-kind",
        "Checks that `kind` is one of those that the section has.",
        "`kind` decides which options a section takes; without it none of them can be read.",
        "method: {kind: finetune}",
        "method: {kind: sft}",
    ),
    DocumentError(
        "LR005",
        "missing-key",
        "Checks that every section has the keys that it cannot do without.",
        "There is no good default for what a model learns from, or for how rows are written.",
        "data:\n  train:\n    - kind: files\n      paths: [chat.jsonl]",
        "data:\n  train:\n    - kind: files\n      paths: [chat.jsonl]\n      format: messages",
    ),
    DocumentError(
        "LR006",
        "wrong-type",
        'Checks that every value has the type of its key. Nothing is converted: `"1024"` is a string.',
        "Libraries convert some values and compare others as they are; a text instead of a number fails hours later.",
        'training:\n  max_length: "1024"',
        "training:\n  max_length: 1024",
    ),
    DocumentError(
        "LR007",
        "out-of-range",
        "Checks numbers against their bounds, texts and lists against their length, and that numbers are finite.",
        "A learning rate of 5 or a batch of nothing is always a slip.",
        "training:\n  learning_rate: 5",
        "training:\n  learning_rate: 5e-5",
    ),
    DocumentError(
        "LR008",
        "unknown-choice",
        "Checks that a value is one of the few that its key takes.",
        "A choice that nobody knows cannot be carried out.",
        "model:\n  base: Qwen/Qwen3-0.6B\n  dtype: fp16",
        "model:\n  base: Qwen/Qwen3-0.6B\n  dtype: float16",
    ),
    DocumentError(
        "LR009",
        "invalid-value",
        "Checks what belongs together within one section, and how names, sizes and references to secrets are written.",
        "Two options that say the same thing leave open which of them holds.",
        "name: House Style",
        "name: house-style",
    ),
    DocumentError(
        "LR010",
        "duplicate-key",
        "Checks that no mapping has a key twice.",
        "Most parsers keep the last value and drop the first without a word.",
        "training:\n  seed: 1\n  seed: 2",
        "training:\n  seed: 2",
    ),
    DocumentError(
        "LR011",
        "empty-document",
        "Checks that a file, and each of its documents, holds something.",
        "An empty document is what is left of a `---` too many, or of a file that was not written to its end.",
        "---\n---",
        "---",
    ),
    DocumentError(
        "LR012",
        "unsupported-yaml",
        "Checks for what YAML has and recipes do not: tags, merge keys (`<<`), and keys that are no strings.",
        "A tag can run code when another tool reads the file; a merge key hides where a value comes from.",
        "metadata:\n  1: first",
        'metadata:\n  "1": first',
    ),
    DocumentError(
        "LR013",
        "document-too-large",
        "Checks the size of a file (4 MiB), its values with aliases written out (100,000), their depth (64), its"
        " documents (250), the length of a number (100 characters), and how many files extend each other (32).",
        "A few lines of aliases can stand for more values than any machine holds.",
        "metadata: &all\n  everything: *all",
        "metadata:\n  everything: no",
    ),
    DocumentError(
        "LR014",
        "duplicate-name",
        "Checks that no two documents of a run have one name.",
        "The name is what references, runs and exported models are found by.",
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-0.6B}\n---\n"
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-1.7B}",
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-0.6B}\n---\n"
        "version: 1\nname: style-large\nmodel: {base: Qwen/Qwen3-1.7B}",
    ),
    DocumentError(
        "LR015",
        "unknown-recipe",
        "Checks that `{recipe: NAME}` names a document of the same file, and `{recipe: FILE#NAME}` one of that file.",
        "The model that it should take is made by nobody.",
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-0.6B}\n---\n"
        "version: 1\nname: concise\nmodel: {base: {recipe: stile}}",
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-0.6B}\n---\n"
        "version: 1\nname: concise\nmodel: {base: {recipe: style}}",
    ),
    DocumentError(
        "LR016",
        "recipe-cycle",
        "Checks that no recipe needs, through others, the model that it makes itself.",
        "None of them could be the first to run.",
        "version: 1\nname: a\nmodel: {base: {recipe: b}}\n---\nversion: 1\nname: b\nmodel: {base: {recipe: a}}",
        "version: 1\nname: a\nmodel: {base: Qwen/Qwen3-0.6B}\n---\nversion: 1\nname: b\nmodel: {base: {recipe: a}}",
    ),
    DocumentError(
        "LR017",
        "extends-cycle",
        "Checks that no file extends itself through others.",
        "It would never be complete.",
        "# recipe.yaml\nextends: [recipe.yaml]",
        "# recipe.yaml\nextends: [base.yaml]",
    ),
    DocumentError(
        "LR018",
        "invalid-extends",
        "Checks that `extends` is a list of files, each with one document, or `FILE#NAME` where a file has several.",
        "Which values a recipe takes over must not be left open.",
        "extends: base.yaml",
        "extends: [base.yaml]",
    ),
    DocumentError(
        "LR019",
        "own-key-in-extra",
        "Checks that `extra` holds only options that the recipe has no key of its own for.",
        "The same thing said in two places leaves open which of them holds.",
        "training:\n  extra: {lr_scheduler_type: linear}",
        "training:\n  schedule: {kind: linear}",
    ),
)
"""In the order of their codes. A code is never used for anything else."""

BY_NAME: dict[str, DocumentError] = {error.name: error for error in DOCUMENT_ERRORS}
