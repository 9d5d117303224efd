"""`config.json` files of published models -> rows of facts/models.json.

    python scripts/generate_model_facts.py OWNER/NAME=PATH/config.json ...
    python scripts/generate_model_facts.py --download OWNER/NAME ...

A row is written when the installed Transformers builds a model from it and `llmrecipe.estimate` counts that model to
the last number; every other is named with what is wrong, and the command ends with 1.
"""

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig

from llmrecipe import facts
from llmrecipe.estimate.counting import total
from llmrecipe.estimate.shape import of_facts
from llmrecipe.facts import ModelFacts

TABLE = Path(facts.__file__).parent / "models.json"

Row = dict[str, Any]

FIELDS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
    "vocab_size", "tie_word_embeddings", "max_position_embeddings",
)  # fmt: skip
"""What a row and most configuration classes call alike."""
EXPERTS = ("num_experts", "num_local_experts")
"""What configuration classes call the number of experts."""


def row_of(repo: str, values: dict[str, Any]) -> Row:
    """The row that a `config.json` says.

    Raises:
        ValueError: it is of no language model that can be built, or of one that the estimates count otherwise.
    """
    model_type = values.get("model_type")
    known = facts.architectures().get(str(model_type))
    if known is None:
        raise ValueError(f"`{model_type}` is not in facts/architectures.json")
    config = CONFIG_MAPPING[model_type].from_dict(values)
    heads = config.num_attention_heads
    experts = next((getattr(config, name) for name in EXPERTS if known.experts and hasattr(config, name)), 0)
    width = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * config.hidden_size
    row: Row = {
        "repos": [repo],
        "family": model_type,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": getattr(config, "num_key_value_heads", None) or heads,
        "head_dim": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "intermediate_size": 0 if experts else width,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_word_embeddings,
        "max_position_embeddings": config.max_position_embeddings,
        "dtype": str(config.dtype or torch.float32).removeprefix("torch."),
        "parameters": numbers(config),
        "source": f"https://huggingface.co/{repo}/blob/main/config.json",
    }
    if quantization := values.get("quantization_config"):
        row["quantization"] = quantization["quant_method"]
    if experts:
        expert_width = getattr(config, "moe_intermediate_size", None) or width
        row |= {
            "num_experts": experts,
            "num_experts_per_tok": config.num_experts_per_tok,
            "moe_intermediate_size": expert_width,
        }
    counted = total(of_facts(_facts(row)))
    if counted != row["parameters"]:
        message = f"it has {row['parameters']:,} numbers, and `llmrecipe.estimate` counts {counted:,}"
        raise ValueError(f"{message}: teach it the family `{model_type}` first")
    return row


def config_of(model: ModelFacts) -> PreTrainedConfig:
    """The configuration that a row says, with the defaults of its class for all else."""
    made = CONFIG_MAPPING[model.family]()
    family = facts.families().get(model.family)
    names = {name: name for name in FIELDS} if family is None else family.fields
    values = {names.get(name, name): getattr(model, name) for name in FIELDS if getattr(model, name) is not None}
    if model.num_experts:
        own = hasattr(made, "moe_intermediate_size")
        values |= dict.fromkeys(EXPERTS, model.num_experts) | {"num_experts_per_tok": model.num_experts_per_tok}
        values["moe_intermediate_size" if own else "intermediate_size"] = model.moe_intermediate_size
    told = {name: value for name, value in values.items() if hasattr(made, name) or name == "head_dim"}
    constants = {} if family is None else family.constants
    return CONFIG_MAPPING[model.family](**{**told, **constants, "pad_token_id": 0})


def built(config: PreTrainedConfig) -> Any:
    """The language model of a configuration, without memory."""
    head = facts.architectures()[config.model_type].head
    with torch.device("meta"):
        return (AutoModelForCausalLM if head == "causal" else AutoModelForMaskedLM).from_config(config)


def numbers(config: PreTrainedConfig) -> int:
    """Its parameters; those that are tied count once."""
    return sum(weight.numel() for weight in built(config).parameters())


def entered(rows: list[Row], new: Row) -> list[Row]:
    """The table with one more row, with one more name of a row, or with another row in the place of an old one."""
    (repo,) = new["repos"]
    if any(repo in row["repos"] and _figures(row) == _figures(new) for row in rows):
        return rows
    others = [row | {"repos": [name for name in row["repos"] if name != repo]} for row in rows]
    same = [row for row in others if _figures(row) == _figures(new)]
    if same:
        same[0]["repos"].append(repo)
    return [row for row in (others if same else [*others, new]) if row["repos"]]


def _figures(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("repos", "source")}


def _facts(row: Row) -> ModelFacts:
    return ModelFacts(**{field.name: row[field.name] for field in dataclasses.fields(ModelFacts) if field.name in row})


def _configuration(written: str, download: bool) -> tuple[str, dict[str, Any]]:
    """A repository, and what its `config.json` says.

    Raises:
        ValueError: the file is not named, or is none.
        OSError: it cannot be had.
    """
    repo, _, file = written.partition("=")
    if download == bool(file):
        raise ValueError("write OWNER/NAME with `--download`, and OWNER/NAME=PATH/config.json without")
    path = Path(hf_hub_download(repo, "config.json") if download else file)
    values = json.loads(path.read_text("utf-8"))
    if not isinstance(values, dict):
        raise ValueError("it is no configuration")
    return repo, values


def main() -> int:
    """Write the rows of all models that are named."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="+", metavar="OWNER/NAME[=CONFIG.json]")
    arguments.add_argument("--download", action="store_true", help="ask the Hub for the files")
    parsed = arguments.parse_args()
    logging.disable(logging.WARNING)
    rows, failed = json.loads(TABLE.read_text("utf-8")), False
    for written in parsed.models:
        try:
            rows = entered(rows, row_of(*_configuration(written, parsed.download)))
        except (OSError, ValueError) as error:
            failed = True
            print(f"{written}: {error}", file=sys.stderr)
    TABLE.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n", "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
