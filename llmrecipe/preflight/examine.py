"""The checks over the trainings of a plan; what came out is kept in the store by the address of what it depends on."""

import hashlib
import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from llmrecipe import __version__, trust
from llmrecipe.plan import PinnedFunction, Stage
from llmrecipe.preflight.artifacts import Artifacts
from llmrecipe.preflight.case import Case, Unknown
from llmrecipe.preflight.check import Check
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.job import Answer, Examination, Examined, Found

MACHINE = "machine"


def examine(job: Examination) -> Answer:
    """Look at each training of the job."""
    artifacts = Artifacts(job)
    return Answer(examined=[_one(job, job.plan.stage(name), artifacts) for name in job.stages])


def _one(job: Examination, stage: Stage, artifacts: Artifacts) -> Examined:
    started = time.monotonic()
    case = Case(job, stage, artifacts)
    file = _file(job, case)
    kept = _kept(file)
    if kept is None:
        found = _examined(case)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_suffix(".partial")
            beside.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            beside.replace(file)
    else:
        case.known_size = kept.size
        found = kept.model_copy(update={"cached": True})
    if "machine" in job.tiers and case.known_size is not None:
        here = list(_findings(case, [check for check in CHECKS.values() if check.tier == "machine"]))
        found = found.model_copy(update={"findings": [*found.findings, *here]})
    return found.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _examined(case: Case) -> Examined:
    """Everything but what belongs to this machine."""
    wanted = [check for check in CHECKS.values() if check.tier in case.job.tiers and check.tier != MACHINE]
    findings = list(_findings(case, wanted))
    sampled, rows, untried = None, [], list[str]()
    try:
        sampled = case.sampled
        if case.job.show:
            rows = list(importlib.import_module("llmrecipe.preflight.shown").shown(case, case.job.show))
    except Unknown:
        pass
    try:
        if "model" in case.job.tiers:
            case.known_size = case.size
        if "trial" in case.job.tiers:
            untried = case.trial.untried
    except Unknown:
        pass
    return Examined(
        stage=case.stage.name, sampled=sampled, findings=findings, rows=rows, untried=untried, size=case.known_size
    )


def _findings(case: Case, checks: list[Check]) -> Iterator[Found]:
    for check in checks:
        try:
            for finding in check.judge(case):
                yield Found(
                    code=check.code,
                    severity=finding.severity or check.severity,
                    at=finding.at,
                    message=finding.message,
                    help=finding.help,
                )
        except Unknown:
            continue  # What it needs cannot be had, and the check of that says why.


def _file(job: Examination, case: Case) -> Path | None:
    """Where the result is kept: under the digest of all that it depends on."""
    recipe = case.recipe + "/"
    addresses = {name: address for name, address in job.plan.addresses().items() if name.startswith(recipe)}
    there = [stage.name for stage in job.plan.stages if artifacts_there(case, stage)]
    functions = (reward.file.sha256 for reward in case.spec.rewards if isinstance(reward, PinnedFunction))
    allowed = [job.allow_code, *sorted(trust.trusted().intersection(functions))]
    known = [__version__, *CHECKS]
    content = [addresses, job.plan.addresses()[case.stage.name], there, job.tiers, job.show, allowed, known]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return Path(job.store) / "preflight" / f"{digest}.json"


def artifacts_there(case: Case, stage: Stage) -> bool:
    """Whether an artifact that the training is made of is complete."""
    before = {each.name for each in case.job.plan.closure(case.stage)} - {case.stage.name}
    return stage.name in before and case.artifacts.complete(stage) is not None


def _kept(file: Path | None) -> Examined | None:
    try:
        return None if file is None else Examined.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
