"""The memory that `llmrecipe plan` estimates, beside PyTorch's memory tracker and beside published peaks of GPUs.

`python benchmarks/estimates.py` writes benchmarks/estimates.md. Large models are traced with a few layers and with
some more, and extrapolated: every further layer takes the same. No accelerator is needed.
"""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmrecipe.estimate import shape
from llmrecipe.estimate.memory import memory
from llmrecipe.estimate.setting import Setting
from llmrecipe.facts import models
from llmrecipe.methods import Method
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.sft import SFT
from llmrecipe.optimization import AdamW
from llmrecipe.preflight.trace import trace
from llmrecipe.recipe.training import CheckpointingOptions
from llmrecipe.strategies import FSDP, Distributed, Single
from llmrecipe.vocabulary import NF4, Adapter, DoRA, Dtype, Full, Int8, LoRA, Quantization, Unquantized

GIB = 2**30
PAGE = Path(__file__).parent / "estimates.md"
FULL, LORA, DORA = Full(kind="full"), LoRA(kind="lora", r=16), DoRA(kind="dora", r=16)
TWO = LoRA(kind="lora", r=16, target_modules=["q_proj", "v_proj"])
LORAS = {"lora": "LoRA", "dora": "DoRA"}
UNQUANTIZED, FOUR, EIGHT = Unquantized(kind="none"), NF4(kind="nf4"), Int8(kind="int8")
ALONE, SHARED, HYBRID = Single(kind="single"), FSDP(kind="fsdp"), FSDP(kind="fsdp", sharding="hybrid")
SFTING, PREFERRING, REWARDING = SFT(kind="sft"), DPO(kind="dpo"), GRPO(kind="grpo", max_completion_length=768)
RECOMPUTED = CheckpointingOptions()


@dataclass(frozen=True)
class Case:
    """A training of a published model on one device."""

    base: str
    method: Method = SFTING
    adapter: Adapter = FULL
    dtype: Dtype = "float32"
    rows: int = 2
    length: int = 2048
    checkpointing: bool = False
    packed: bool = False
    accumulation: int = 1
    quantization: Quantization = UNQUANTIZED
    strategy: Distributed = ALONE
    processes: int = 1

    @property
    def setting(self) -> Setting:
        """As `llmrecipe plan` has it, under autocast to bfloat16."""
        return Setting(
            shape=shape.of_facts(models()[self.base]),
            method=self.method,
            weights=self.dtype,
            compute="bfloat16",
            adapter=self.adapter,
            quantization=self.quantization,
            optimizer=AdamW(kind="adamw"),
            attention="sdpa",
            packed=self.packed,
            rows=self.rows,
            length=self.length,
            accumulation=self.accumulation,
            checkpointing=RECOMPUTED if self.checkpointing else None,
            strategy=self.strategy,
            processes=self.processes,
            processes_per_node=min(self.processes, 8),
        )

    @property
    def name(self) -> str:
        """The columns that say what it is."""
        kind = "full"
        if not isinstance(self.adapter, Full):
            kind = f"{LORAS[self.adapter.kind]} r{self.adapter.r}"
            kind += "" if self.adapter.target_modules == "all-linear" else " on two layers of each"
        if not isinstance(self.quantization, Unquantized):
            kind = f"{kind} on {self.quantization.kind}"
        if isinstance(self.strategy, FSDP):
            kind = f"{kind}, FSDP {self.strategy.sharding} over {self.processes}"
        packed = ", packed" if self.packed else ""
        more = f", {self.accumulation} accumulated" if self.accumulation > 1 else ""
        recomputed = "yes" if self.checkpointing else "no"
        what = f"{self.method.kind}, {kind}, {self.dtype}{packed}{more}"
        return f"{self.base.partition('/')[2]} | {what} | {self.rows} x {self.length} | {recomputed}"


CASES = (
    Case("HuggingFaceTB/SmolLM2-135M", rows=8),
    Case("HuggingFaceTB/SmolLM2-135M", rows=4, packed=True),
    Case("Qwen/Qwen3-0.6B", rows=4),
    Case("Qwen/Qwen3-0.6B", rows=4, checkpointing=True, accumulation=4),
    Case("Qwen/Qwen3-0.6B", PREFERRING, rows=4, length=1024),
    Case("Qwen/Qwen3-0.6B", REWARDING, rows=8, length=768),
    Case("meta-llama/Llama-3.2-1B", dtype="bfloat16", rows=4),
    Case("meta-llama/Llama-3.2-1B", rows=1, length=512),
    Case("google/gemma-3-1b-pt", rows=2, checkpointing=True),
    Case("Qwen/Qwen2.5-7B", adapter=LORA, dtype="bfloat16", rows=1, length=4096),
    Case("Qwen/Qwen3-8B", adapter=LORA, dtype="bfloat16", checkpointing=True, rows=2, length=4096),
    Case("meta-llama/Llama-3.1-8B", dtype="bfloat16", checkpointing=True, rows=1, length=2048),
    Case("meta-llama/Llama-3.1-8B", adapter=LORA, dtype="bfloat16", checkpointing=True, rows=1, length=32768),
    Case("meta-llama/Llama-3.1-8B", PREFERRING, LORA, "bfloat16", rows=2, length=2048, checkpointing=True),
    Case("mistralai/Mistral-7B-v0.3", rows=1, length=4096, checkpointing=True),
    Case("meta-llama/Llama-3.1-70B", adapter=LORA, dtype="bfloat16", rows=1, length=2048, checkpointing=True),
    Case("meta-llama/Llama-3.1-70B", dtype="bfloat16", rows=1, length=2048, checkpointing=True),
    Case("Qwen/Qwen3-0.6B", adapter=DORA, dtype="bfloat16", rows=4, length=1024),
    Case("Qwen/Qwen3-8B", adapter=LORA, dtype="bfloat16", checkpointing=True, quantization=FOUR),
    Case("Qwen/Qwen3-8B", adapter=LORA, dtype="bfloat16", rows=1, quantization=FOUR),
    Case("Qwen/Qwen3-8B", adapter=LORA, dtype="bfloat16", checkpointing=True, quantization=EIGHT),
    Case("meta-llama/Llama-3.1-70B", adapter=LORA, dtype="bfloat16", rows=1, checkpointing=True, quantization=FOUR),
    Case("Qwen/Qwen3-0.6B", rows=4, strategy=SHARED, processes=8),
    Case("meta-llama/Llama-3.1-8B", rows=1, length=4096, checkpointing=True, strategy=SHARED, processes=8),
    Case("meta-llama/Llama-3.1-8B", accumulation=4, checkpointing=True, strategy=HYBRID, processes=32),
    Case("meta-llama/Llama-3.1-70B", rows=1, length=8192, checkpointing=True, strategy=SHARED, processes=64),
    Case("Qwen/Qwen3-30B-A3B", dtype="bfloat16", rows=1, length=4096, checkpointing=True),
    Case("Qwen/Qwen3-30B-A3B", adapter=LORA, dtype="bfloat16", rows=1, length=4096, checkpointing=True),
    Case("meta-llama/Llama-3.1-8B", adapter=TWO, dtype="bfloat16", rows=1, length=4096),
    Case("google/gemma-3-1b-pt", adapter=LORA, dtype="bfloat16", rows=1, length=4096),
)


@dataclass(frozen=True)
class Published:
    """A peak that torchtune's README reports for two packed rows on one GPU."""

    what: str
    gib: float
    setting: Setting
    chunked: bool = True
    """Whether its loss works in eight chunks."""

    @property
    def estimated(self) -> float:
        """Bytes, with the loss of torchtune in the place of ours.

        It keeps the logits of all tokens in 16 bits and turns a chunk of them into float32; in one piece, it takes 14
        bytes of each: logits, log-probabilities in float32, and two gradients.
        """
        logits = self.setting.tokens * self.setting.shape.vocabulary
        theirs = (2 + 4 / 8) * logits if self.chunked else 14.0 * logits
        return max(
            moment.bytes + (theirs - moment.terms["loss head"] if moment.name == "loss" else 0)
            for moment in memory(self.setting).moments
        )


def published() -> Iterator[Published]:
    """Rows of https://github.com/pytorch/torchtune (README, commit bd2a0fc7c): pure bfloat16, two rows each."""
    three = Case("meta-llama/Llama-3.2-3B", dtype="bfloat16", rows=2, length=4096).setting
    eight = Case("meta-llama/Llama-3.1-8B", adapter=LoRA(kind="lora", r=8), dtype="bfloat16", rows=2).setting
    offloaded = CheckpointingOptions(offload=True)
    four = NF4(kind="nf4")
    adapted = replace(three, adapter=LoRA(kind="lora", r=8), checkpointing=offloaded)
    yield Published("3B full, 4096 tokens", 60.0, three, chunked=False)
    yield Published("3B full, 4096 tokens, checkpointed, compiled", 24.9, replace(three, checkpointing=RECOMPUTED))
    yield Published("3B LoRA, 4096 tokens, offloaded checkpoints", 8.5, adapted)
    yield Published("3B QLoRA, 4096 tokens, offloaded checkpoints", 4.6, replace(adapted, quantization=four))
    yield Published("8B LoRA, 2048 tokens", 16.2, replace(eight, checkpointing=offloaded))
    yield Published("8B QLoRA, 2048 tokens", 7.4, replace(eight, checkpointing=offloaded, quantization=four))


def traced(number: int) -> str:
    """One row of the table; in a process of its own, since the tracker leaves much behind."""
    warnings.filterwarnings("ignore")
    case = CASES[number]
    found = trace(case.setting)
    needs = max(moment.bytes for moment in memory(case.setting).moments if moment.name != "generation")
    layers = case.setting.shape.layers
    how = f"{found.layers} of {layers} layers" if found.layers < layers else "whole"
    return f"| {case.name} | {how} | {found.peak / GIB:.2f} | {needs / GIB:.2f} | {needs / found.peak - 1:+.1%} |"


def main() -> None:
    """Trace all, and write the page."""
    if len(sys.argv) > 1:
        print(traced(int(sys.argv[1])))
        return
    rows = []
    for number in range(len(CASES)):
        command = [sys.executable, __file__, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(done.stdout.strip().splitlines()[-1])
        print(rows[-1], flush=True)
    lines = []
    for case in published():
        peak = case.estimated / GIB
        lines.append(f"| {case.what} | {case.gib:.1f} | {peak:.1f} | {peak / case.gib - 1:+.1%} |")
        print(lines[-1], flush=True)
    PAGE.write_text(TEXT.format(traced="\n".join(rows), published="\n".join(lines)), encoding="utf-8")


TEXT = """\
# Estimates against traces

`python benchmarks/estimates.py` writes this page. GiB of PyTorch's tensors on one device, without the
context of the driver and what its allocator cannot use, which `llmrecipe plan` adds as a range.

## Against PyTorch's memory tracker

The second optimizer step over fake tensors, with the losses of our trainers (of TRL's for preferences and rewards), as
`llmrecipe plan --trace` runs it. Products are in bfloat16 everywhere; float32 weights are under autocast. Larger models
are traced with a few layers and with some more, and extrapolated. Layers of 4 and 8 bits are traced as CUDA's kernels
compute them; FSDP is traced in one process of as many as it says, whose collectives move nothing.

| model | training | rows x tokens | checkpointing | traced | GiB traced | GiB estimated | difference |
|---|---|---|---|---|---|---|---|
{traced}

## Against published peaks of GPUs

Of torchtune's README (commit bd2a0fc7c): two packed rows on one GPU, the peak that PyTorch reports. Its losses keep
other things than ours do and stand in the place of ours here; its layers and kernels are its own as well, so that these
rows say how far the estimate carries, and not how exact it is.

| training | GiB published | GiB estimated | difference |
|---|---|---|---|
{published}
"""

if __name__ == "__main__":
    main()
