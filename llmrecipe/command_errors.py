"""The manual pages of what commands report of a valid recipe, codes that end in 90 to 99, and what imports report."""

from llmrecipe.diagnostics import Diagnostic, Severity
from llmrecipe.document_errors import DocumentError
from llmrecipe.source import Span

COMMAND_ERRORS: tuple[DocumentError, ...] = (
    DocumentError(
        "LR490",
        "batch-does-not-divide",
        "Checks, when the processes come from a launcher of your own, that `training.global_batch_size` is a multiple"
        " of `per_device_train_batch_size` times their number.",
        "Gradient accumulation makes up the rest, and it counts in whole steps of all processes.",
        "# under `torchrun --nproc-per-node 3 -m llmrecipe run recipe.yaml`\n"
        "training: {per_device_train_batch_size: 8, global_batch_size: 64}",
        "# under `torchrun --nproc-per-node 3 -m llmrecipe run recipe.yaml`\n"
        "training: {per_device_train_batch_size: 8, global_batch_size: 72}",
    ),
    DocumentError(
        "LR491",
        "launcher-says-otherwise",
        "Checks, when the processes come from a launcher of your own, that it says nothing else of the strategy than"
        " `distributed` does. What the recipe leaves out, the launcher may say.",
        "One of the two would be passed over in silence.",
        "# under `accelerate launch --config_file zero3.yaml -m llmrecipe run recipe.yaml`\ndistributed: {kind: fsdp}",
        "# under `accelerate launch --config_file fsdp2.yaml -m llmrecipe run recipe.yaml`\ndistributed: {kind: fsdp}",
    ),
    DocumentError(
        "LR492",
        "launcher-not-followed",
        "Checks, when the processes come from a launcher of your own and the recipe writes no strategy, that it can"
        " have that of the launcher. If not, this is a warning, and the recipe is spread by `ddp`.",
        "Every process then holds the whole model, which may not fit.",
        "# under `accelerate launch --config_file zero2.yaml -m llmrecipe run recipe.yaml`\n"
        "training: {optimizer: {kind: muon}}",
        "# under `accelerate launch --config_file zero2.yaml -m llmrecipe run recipe.yaml`\n"
        "training: {optimizer: {kind: adamw}}",
    ),
    DocumentError(
        "LR690",
        "unfit-for-target",
        "Checks that what a recipe asks for can be said in the files of the target of `llmrecipe compile`.",
        "Files that leave something out would run something else.",
        "# `llmrecipe compile recipe.yaml --target kubernetes`, with nothing to train and nothing to serve\n"
        "model: {base: ./base}",
        "model: {base: ./base}\nserving: {kind: vllm}",
    ),
    DocumentError(
        "LR790",
        "stale-lock",
        "Compares `FILE.lock` with what is there now: data files, local models, chat templates, versions of packages.",
        "What a locked recipe makes is known beforehand. With other inputs it would be something else.",
        "# corpus.txt was changed after `llmrecipe lock recipe.yaml`\ndata:\n"
        "  train: [{kind: files, paths: [corpus.txt], format: text}]",
        "# after `llmrecipe lock recipe.yaml` was called again, or the old corpus.txt was restored\ndata:\n"
        "  train: [{kind: files, paths: [corpus.txt], format: text}]",
    ),
    DocumentError(
        "LR791",
        "unreadable-input",
        "Checks that data files, local models and chat templates can be read, since they are known by their bytes.",
        "A plan over inputs that nobody can read could not be run.",
        "tokenizer: {kind: reuse, chat_template: private/template.jinja}",
        "tokenizer: {kind: reuse, chat_template: template.jinja}",
    ),
    DocumentError(
        "LR792",
        "unreadable-lock",
        "Checks that `FILE.lock` is a lock of this version of llmrecipe.",
        "A lock that is passed over in silence pins nothing.",
        "# recipe.yaml.lock was edited by hand or written by another version",
        "# `llmrecipe lock recipe.yaml` writes it again",
    ),
    DocumentError(
        "LR793",
        "hub-does-not-answer",
        "Checks, in `llmrecipe lock` alone, that the Hub names a commit for every model and dataset without one.",
        "Without a commit the owner may change the model or dataset from one run to the next.",
        "model: {base: Qwen/Qwen3-0.6}",
        "model: {base: Qwen/Qwen3-0.6B}",
    ),
    DocumentError(
        "LR911",
        "unknown-imported-key",
        "Checks, in `llmrecipe import` alone, that every key of the file is one that the tool is known to take.",
        "Some tools pass a misspelt key over in silence; what it should have done is then done by nobody.",
        "# axolotl.yaml\nlearning_rat: 2e-4",
        "# axolotl.yaml\nlearning_rate: 2e-4",
    ),
    DocumentError(
        "LR912",
        "no-equal-in-recipes",
        "Checks, in `llmrecipe import` alone, that what a key of another tool does can be said in a recipe. The recipe"
        " is written without it.",
        "A recipe that leaves it out trains something else, and says nothing of it.",
        "# axolotl.yaml\nrl: ebft",
        "# axolotl.yaml\nrl: dpo",
    ),
    DocumentError(
        "LR913",
        "unfit-imported-value",
        "Checks, in `llmrecipe import` alone, that every value is one that its key takes.",
        "The tool would refuse it too, or take it for something else.",
        "# axolotl.yaml\nmicro_batch_size: two",
        "# axolotl.yaml\nmicro_batch_size: 2",
    ),
    DocumentError(
        "LR914",
        "unrecognized-configuration",
        "Checks, in `llmrecipe import` alone, that a file holds keys of Axolotl, LLaMA-Factory or TRL.",
        "A recipe of a file that is something else would be made of nothing but defaults.",
        "# docker-compose.yaml\nservices: {web: {image: nginx}}",
        "# axolotl.yaml\nbase_model: Qwen/Qwen3-0.6B\nmicro_batch_size: 2",
    ),
    DocumentError(
        "LR915",
        "unreadable-configuration",
        "Checks, in `llmrecipe import` alone, that the file is one document of YAML 1.1 in UTF-8, without tags.",
        "A tag can run code when the file is read; nothing of a file that is imported is ever run.",
        "# axolotl.yaml\nbase_model: !!python/name:os.system",
        "# axolotl.yaml\nbase_model: Qwen/Qwen3-0.6B",
    ),
    DocumentError(
        "LR916",
        "missing-for-import",
        "Checks, in `llmrecipe import` alone, that the file says what a recipe cannot do without, and that files"
        " which it names (`dataset_info.json`, a configuration of DeepSpeed) are there.",
        "What they say would have to be guessed.",
        "# llamafactory.yaml, without data/dataset_info.json\ndataset: my_chats",
        "# llamafactory.yaml, with data/dataset_info.json that has the entry my_chats\ndataset: my_chats",
    ),
    DocumentError(
        "LR917",
        "imported-with-a-difference",
        "Says, in `llmrecipe import` alone, where a key was taken over and does not do exactly what it did."
        " This is a warning.",
        "The results of both tools should be compared with this in mind.",
        "# axolotl.yaml: longer rows are dropped there and cut here\nsample_packing: true",
        "# axolotl.yaml\nsample_packing: false",
    ),
    DocumentError(
        "LR918",
        "surprising-yaml",
        "Says, in `llmrecipe import` alone, where the YAML 1.1 of the other tools reads a value as something else"
        " than it seems to be: `no` as false, `012` as 10, `1_000` as 1000. This is a warning.",
        "The tool takes the value as it was read, and the recipe does as the tool does.",
        "# axolotl.yaml\neval_strategy: no",
        '# axolotl.yaml\neval_strategy: "no"',
    ),
)

_BY_NAME: dict[str, DocumentError] = {error.name: error for error in COMMAND_ERRORS}


def command_error(
    name: str, message: str, span: Span, help: str | None = None, severity: Severity = "error"
) -> Diagnostic:
    """The diagnostic of a command error, by its name."""
    return Diagnostic(_BY_NAME[name].code, name, message, span, help, severity)
