"""A stage of a plan -> its job on disk, and how this machine starts it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llmrecipe import launch
from llmrecipe.launch import Start
from llmrecipe.plan import Job, Stage, Train, packages
from llmrecipe.store import RunError, Store, write


@dataclass(frozen=True)
class Jobs:
    """What the jobs of one run have in common."""

    store: Store
    addresses: dict[str, str]
    """Stage name -> address."""
    root: Path
    """Folder of the recipe, from which pinned relative paths start."""
    allow_code: bool
    """Whether code that the recipe points to may run."""
    run: Path | None = None
    """Folder of the run."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions that the addresses are for."""

    def job(self, stage: Stage) -> Job:
        """The job of a stage, with the folders of the store."""
        address = self.addresses[stage.name]
        inputs = {}
        for name, reference in stage.inputs.items():
            maker, _, output = reference.partition(".")
            inputs[name] = str(self.store.artifact(self.addresses[maker]) / output)
        return Job(
            name=stage.name,
            address=address,
            spec=stage.spec,
            inputs=inputs,
            output=str(self.store.artifact(address)),
            work=str(self.store.work(address)),
            root=str(self.root.absolute()),
            allow_code=self.allow_code,
            run=None if self.run is None else str(self.run.absolute()),
            packages={name: self.packages.get(name) for name in ("llmrecipe", *packages(stage.spec))},
        )

    def write(self, stage: Stage) -> Path:
        """Write the job into the work folder of the stage, and return its path."""
        job = self.job(stage)
        path = Path(job.work) / "job.json"
        write(path, json.dumps(job.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
        return path

    def start(self, stage: Stage) -> Start:
        """How this machine alone does the stage; its job is written.

        Raises:
            RunError: it takes several machines, or accelerate is not installed.
        """
        path = self.write(stage)
        if stage.launcher == "process":
            return launch.process(path, launch.alone(os.environ, 1))
        if stage.resources.nodes > 1:
            raise RunError(
                f"{stage.name} is for {stage.resources.nodes} machines, and this is one",
                "start `llmrecipe run` with `torchrun` on each of them, or set `hardware.num_nodes: 1`",
            )
        assert isinstance(stage.spec, Train)
        config = path.with_name("accelerate.yaml")
        configuration = launch.accelerate_config(stage.resources, stage.spec.distributed)
        write(config, yaml.safe_dump(configuration, sort_keys=False))
        return launch.accelerate(path, config, launch.alone(os.environ, stage.resources.processes))
