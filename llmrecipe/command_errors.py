"""The manual pages of what commands report of a valid recipe: codes that end in 90 to 99."""

from llmrecipe.document_errors import DocumentError

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
)
