"""What this machine has against what the training will need: disk and memory. Never taken from the cache."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmrecipe.preflight.check import Finding, check
from llmrecipe.vocabulary import Full

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

GIB = 2**30
FREE = 0.9
"""Share of the free space that may be planned with."""


def checkpoint_bytes(case: "Case") -> int:
    """One checkpoint: what is trained, and two moments of the same type for each trained weight.

    Adapters keep float32; a full training keeps the type of its weights, float32 unless it is written.
    """
    half = isinstance(case.spec.adapter, Full) and case.spec.dtype in ("bfloat16", "float16")
    return 3 * case.size.trainable * (2 if half else 4)


def export_bytes(case: "Case") -> int:
    """Weights that the stages after the training write: the trained model, a merged one and each exported format."""
    copies = 1 + len(case.export_spec.formats) + (not isinstance(case.spec.adapter, Full))
    return copies * case.size.total * (4 if case.spec.dtype in ("float32", "auto") else 2)


@check("LR383", tier="machine")
def disk_too_small(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the free space of the store with the checkpoints that lie there at once (those that are kept, the best, the
    one that is being written: three values for each trained weight), the trained model, the merge and the export.

    ## Why is this bad?
    A training that cannot write its checkpoint ends there, and all since the last one is lost.

    ## How to mend it
    Lower `training.checkpoints.save_total_limit`, make room, or choose another folder with `--store`.

    ## Source
    https://github.com/mlfoundations/open_lm/issues/154; Adam keeps two moments for each weight.
    """
    kept = case.spec.arguments.get("save_total_limit") or 1
    assert isinstance(kept, int)
    checkpoints = (kept + 1 + (case.spec.best is not None)) * checkpoint_bytes(case)
    need, free = checkpoints + export_bytes(case), _free(Path(case.job.store))
    if need > FREE * free:
        yield Finding(
            "training",
            f"checkpoints ({checkpoints / GIB:.1f} GiB), trained and exported weights ({export_bytes(case) / GIB:.1f} "
            f"GiB) need {need / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free where the store is",
            "keep fewer checkpoints (`training.checkpoints.save_total_limit`), make room, or write `--store DIR`",
        )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@check("LR384", tier="machine")
def host_memory_too_small(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the memory of this machine with the models that its processes read before the trainer spreads them, and
    where training runs on processors with weights, gradients and moments.

    ## Why is this bad?
    Every process reads the whole model. Eight of them with 70 billion weights of two bytes need 1.1 TB, and the kernel
    ends them without a word.

    ## How to mend it
    Start fewer processes on a machine, write `model.dtype: bfloat16`, train an adapter, or use a machine with more
    memory.

    ## Source
    `from_pretrained` of Transformers; `MemTotal` in /proc/meminfo.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    processes, size = case.stage.resources.processes, case.size
    each = size.total * (2 if case.spec.dtype in ("bfloat16", "float16") else 4)
    if case.stage.resources.accelerators == 0:
        each += 3 * size.trainable * 4
    if 1.2 * processes * each > total:
        yield Finding(
            "model",
            f"{processes} process{'es' if processes > 1 else ''} with {each / GIB:.1f} GiB each need more than the "
            f"{total / GIB:.1f} GiB of memory that this machine has",
            "start fewer processes, write `model.dtype: bfloat16`, or train an adapter",
        )
