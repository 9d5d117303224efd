"""The run as Slurm jobs, one for each stage, which wait for those that they need and go on after a preemption."""

import shlex

from llmrecipe.plan import Plan, Stage
from llmrecipe.targets import local
from llmrecipe.targets.base import Files
from llmrecipe.targets.local import STORE, stage_file

SAVE_SECONDS = 300
"""How long before the end of its time a job is told to save a checkpoint."""
CPUS_PER_PROCESS = 8
"""Cores of each process with an accelerator: its own thread, those that load batches, and what tokenizes."""
LOGS = f"{STORE}/slurm"
"""Where jobs write what they say, from the recipe's folder."""

_SUBMIT = """\
#!/usr/bin/env bash
{comment}
set -euo pipefail

here=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
default_root={root}
root=$(cd -- "${{LLMRECIPE_ROOT:-$here/$default_root}}" && pwd) || {{
  echo "submit.sh: set LLMRECIPE_ROOT to the folder of the recipe" >&2
  exit 1
}}
export LLMRECIPE_COMPILED=$here LLMRECIPE_ROOT=$root
options=("$@")
declare -A job=()
mkdir -p "$root/{logs}"

# submit NAME ADDRESS SCRIPT NEEDED...: nothing to do when its artifact exists.
submit() {{
  local name=$1 address=$2 script=$3 after='' needed id
  shift 3
  if [[ -d $root/{store}/artifacts/$address ]]; then
    echo "$name: complete"
    return
  fi
  for needed in "$@"; do
    [[ -z ${{job[$needed]:-}} ]] || after+=":${{job[$needed]}}"
  done
  local words=(--parsable --export=ALL --chdir="$root" --output="$root/{logs}/%x-%j.log")
  [[ -z $after ]] || words+=(--dependency="afterok$after" --kill-on-invalid-dep=yes)
  id=$(sbatch "${{words[@]}}" "${{options[@]}}" "$here/$script")
  job[$name]=${{id%%;*}}
  echo "$name: job ${{job[$name]}}"
}}

"""

_JOB = """\
# The stage {name} of the run `{run}`. submit.sh submits it.
#SBATCH --job-name={job_name}
{directives}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{seconds}
set -euo pipefail
: "${{LLMRECIPE_COMPILED:?submit this job with submit.sh}}"

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR=${{hosts[0]}} MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-$((SLURM_CPUS_PER_TASK / {processes}))}}

# Slurm tells this shell that its time is over or that it is preempted; the stage saves what it can and ends.
step='' stopped=''
trap 'stopped=1; [[ -z $step ]] || kill -TERM "$step" 2>/dev/null || true' TERM

# One launcher on each node.
# shellcheck disable=SC2016 # The number of the node is known there.
srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=1 \\
  bash -c 'NODE_RANK=$SLURM_NODEID exec bash "$LLMRECIPE_COMPILED/run.sh" {name}' &
step=$!
code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do
  code=0
  wait "$step" || code=$?
done

if ((code != 0)) && [[ -n $stopped ]]; then
  echo "{name}: stopped before its end; it goes on from its last checkpoint" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def render(plan: Plan, root: str = ".") -> Files:
    """The files of the target `local`, `slurm/*.sbatch`, and `submit.sh`, which submits them.

    Raises:
        TargetError: the plan has no stage.
    """
    files = local.render(plan, root)
    addresses = plan.addresses()
    lines = []
    for number, stage in enumerate(plan.stages, start=1):
        path = f"slurm/{stage_file(number, stage, '.sbatch')}"
        files[path] = "#!/usr/bin/env bash\n" + _job(plan, stage)
        needed = dict.fromkeys(reference.partition(".")[0] for reference in stage.inputs.values())
        lines.append(" ".join(["submit", stage.name, addresses[stage.name], path, *needed]))
    head = _SUBMIT.format(comment=_comment(plan), root=shlex.quote(root), logs=LOGS, store=STORE)
    return files | {"submit.sh": head + "\n".join(lines) + "\n"}


def _job(plan: Plan, stage: Stage) -> str:
    resources = stage.resources
    cpus = resources.processes * (CPUS_PER_PROCESS if resources.accelerators else 1)
    directives = [f"--nodes={resources.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}"]
    if resources.accelerators:
        directives.append(f"--gpus-per-node={resources.accelerators}")
    if resources.memory is not None:
        directives.append(f"--mem={resources.memory.removesuffix('i')}")
    return _JOB.format(
        name=stage.name,
        run=plan.name,
        job_name=stage.name.replace("/", "-"),
        directives="\n".join(f"#SBATCH {directive}" for directive in directives),
        seconds=SAVE_SECONDS,
        processes=resources.processes,
        nodes=resources.nodes,
    )


def _comment(plan: Plan) -> str:
    lines = [
        f"Submits the run `{plan.name}` to Slurm, written by llmrecipe; compile again instead of editing.",
        "",
        "One job for each stage that the store does not have; each waits for those that it needs. A job that is",
        "preempted, or whose time is over, saves a checkpoint and is queued again. Call this again after a failure.",
        "",
        "Arguments are options of sbatch, for all jobs: submit.sh --account=ME --partition=gpu --time=12:00:00",
        "",
        "LLMRECIPE_ROOT  the recipe's folder, which every node sees: data, and .llmrecipe is in it",
        "PYTHON          the interpreter (python3), on every node",
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)
