"""The whole run as files: the plan, one job per stage, the launcher's configurations, and a script that does them."""

import json
import shlex

from llmrecipe.launch import accelerate_config
from llmrecipe.plan import Job, Plan, Service, Stage, Train
from llmrecipe.store import VERSION
from llmrecipe.targets.base import Files, TargetError
from llmrecipe.targets.yaml_text import yaml_text
from llmrecipe.watching import Tracking

STORE = ".llmrecipe"
"""Where artifacts lie, from the recipe's folder: the store that `llmrecipe run` uses unless told otherwise."""

_HEAD = """\
#!/usr/bin/env bash
{comment}
set -euo pipefail

here=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
default_root={root}
root=${{LLMRECIPE_ROOT:-$here/$default_root}}
cd -- "$root" || {{ echo "run.sh: set LLMRECIPE_ROOT to the folder of the recipe" >&2; exit 1; }}
python=${{PYTHON:-python3}}
only=("$@") # Names of stages.
"""

_NODES = """\
: "${MASTER_ADDR:?run.sh: set MASTER_ADDR to the address of node 0, and NODE_RANK to 0, 1, ... on each node}"
: "${NODE_RANK:?run.sh: set NODE_RANK to 0, 1, ... on each node}"
rendezvous=(--machine_rank "$NODE_RANK" --main_process_ip "$MASTER_ADDR" --main_process_port "${MASTER_PORT:-29500}")
"""

_FUNCTIONS = """\
set -m # Each stage is a process group of its own: Ctrl-C reaches it once, through us.
child='' stopped=''
trap 'stopped=75; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM
trap 'stopped=130; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' INT

# Bash does not pass signals on by itself. A stage that gets one saves what it can before it ends.
attend() {
  local code=0
  "$@" </dev/null &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  child=''
  return "$code"
}

complete() {
  if [[ -n $stopped ]]; then
    echo "run.sh: interrupted; call it again to go on" >&2
    exit "$stopped"
  fi
  [[ -d @STORE@/artifacts/$1 ]]
}

# Whether a stage is one of those that were asked for; none asks for all.
wanted() {
  ((${#only[@]} > 0)) || return 0
  [[ " ${only[*]} " == *" $1 "* ]]
}

# stage NAME ADDRESS NODES COMMAND...: nothing to do when its artifact exists.
stage() {
  local name=$1 address=$2 nodes=$3 code=0
  shift 3
  wanted "$name" || return 0
  if complete "$address"; then
    echo "$name: complete"
    return
  fi
  if ((${NODE_RANK:-0} > 0 && nodes == 1)); then
    echo "$name: waiting for node 0"
    until complete "$address"; do sleep 1; done
    return
  fi
  if ((${NODE_RANK:-0} == 0)); then
    exec 9>>"@STORE@/locks/$address.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
      echo "$name: another run is at it, waiting"
      attend flock 9 || true
    fi
    if complete "$address"; then
      echo "$name: complete"
      exec 9>&-
      return
    fi
  fi
  echo "$name: start"
  attend "$@" || code=$?
  if ((code != 0)) && ! complete "$address"; then
    echo "$name: failed (exit code $code); @STORE@/work/$address/outcome.json says why" >&2
    exit "$code"
  fi
  if ((${NODE_RANK:-0} == 0)); then
    rm -rf "@STORE@/work/$address" "@STORE@/locks/$address.lock"
    exec 9>&-
  fi
}

# Threads that wait awake make a step several times longer as soon as another program wants a core.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

# Launchers start processes with one thread each unless they are told.
threads() {
  local each=$(($(getconf _NPROCESSORS_ONLN) / $1))
  echo "OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((each > 0 ? each : 1))}"
}

mkdir -p @STORE@/artifacts @STORE@/work @STORE@/locks
[[ -e @STORE@/store.json ]] || echo '{"version": @VERSION@}' >@STORE@/store.json
if ! grep -qF '{"version": @VERSION@}' @STORE@/store.json; then
  echo "run.sh: $PWD/@STORE@ is a store of another version of llmrecipe" >&2
  exit 1
fi
""".replace("@STORE@", STORE).replace("@VERSION@", str(VERSION))


def render(plan: Plan, root: str = ".") -> Files:
    """`plan.json`, `run.sh`, `stages/*.json` and `accelerate/*.yaml`.

    Raises:
        TargetError: the plan has no stage.
    """
    if not plan.stages:
        raise TargetError("the recipe has nothing to run", "add `data` and `method`")
    return {"plan.json": plan.model_dump_json(indent=2) + "\n", "run.sh": script(plan, root), **job_files(plan)}


def job_files(plan: Plan) -> Files:
    """The jobs and the launcher's configurations, which `run.sh` names."""
    addresses = plan.addresses()
    files = {}
    for number, stage in enumerate(plan.stages, start=1):
        job = _job(stage, addresses, plan.name)
        files[_job_path(number, stage)] = json.dumps(job.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    for stage in plan.stages:
        if isinstance(stage.spec, Train):
            comment = f"How `accelerate launch` starts {stage.name}."
            files[_config_path(stage)] = yaml_text(
                [accelerate_config(stage.resources, stage.spec.distributed)], comment
            )
    return files


def script(plan: Plan, root: str) -> str:
    """`run.sh`: the stages in their order. `root` is its default for the recipe's folder, from its own."""
    several = any(stage.resources.nodes > 1 for stage in plan.stages)
    addresses = plan.addresses()
    lines = [_line(number, stage, addresses[stage.name]) for number, stage in enumerate(plan.stages, start=1)]
    models = [
        f'if wanted {stage.name}; then echo "{stage.name}: {model_folder(plan, f"{stage.name}.model")}"; fi'
        for stage in plan.stages
        if stage.spec.kind == "export"
    ]
    head = _HEAD.format(comment=_comment(plan, several), root=shlex.quote(root))
    return "\n".join([head + (_NODES if several else "") + "\n" + _FUNCTIONS, *lines, "", *models]) + "\n"


def model_folder(plan: Plan, reference: str) -> str:
    """Where the model `RECIPE/STAGE.OUTPUT` lies, from the recipe's folder."""
    return _folder(reference, plan.addresses())


def served_folder(plan: Plan, service: Service) -> str:
    """Where the model of a server lies, from the recipe's folder."""
    return model_folder(plan, service.model)


def _folder(reference: str, addresses: dict[str, str]) -> str:
    stage, _, output = reference.partition(".")
    return f"{STORE}/artifacts/{addresses[stage]}/{output}"


def _job(stage: Stage, addresses: dict[str, str], plan: str) -> Job:
    address = addresses[stage.name]
    reports = isinstance(stage.spec, Train) and stage.spec.tracking != Tracking()
    return Job(
        name=stage.name,
        address=address,
        spec=stage.spec,
        inputs={name: _folder(reference, addresses) for name, reference in stage.inputs.items()},
        output=f"{STORE}/artifacts/{address}",
        work=f"{STORE}/work/{address}",
        root=".",
        run=f"runs/{plan}" if reports else None,
    )


def stage_file(number: int, stage: Stage, suffix: str) -> str:
    """Name of the file of a stage: its number in the plan, and its name without a slash."""
    return f"{number:02}-{stage.name.replace('/', '-')}{suffix}"


def _job_path(number: int, stage: Stage) -> str:
    return f"stages/{stage_file(number, stage, '.json')}"


def _config_path(stage: Stage) -> str:
    return f"accelerate/{stage.name.replace('/', '-')}.yaml"


def _line(number: int, stage: Stage, address: str) -> str:
    resources = stage.resources
    words = f"stage {stage.name} {address} {resources.nodes}"
    work = f'-m llmrecipe.stages "$here/{_job_path(number, stage)}"'
    if stage.launcher == "process":
        return f'{words} \\\n  "$python" {work}'
    launch = f'"$python" -m accelerate.commands.launch --config_file "$here/{_config_path(stage)}" --quiet'
    rendezvous = ' "${rendezvous[@]}"' if resources.nodes > 1 else ""
    return f'{words} \\\n  env "$(threads {resources.processes})" \\\n  {launch}{rendezvous} \\\n  {work}'


def _comment(plan: Plan, several: bool) -> str:
    lines = [
        f"The run `{plan.name}`, written by llmrecipe; compile again instead of editing.",
        "",
        "Does every stage that the store does not have, with nothing but the files beside this one and the installed",
        "packages. A second call does nothing; a call after a kill goes on where the first was. With names of stages",
        "(`run.sh RECIPE/STAGE ...`) it does these alone.",
        "",
        "LLMRECIPE_ROOT  the recipe's folder: its data files are found from here, and .llmrecipe is in it",
        "PYTHON          the interpreter (python3)",
    ]
    if several:
        lines += [
            "MASTER_ADDR     the address of node 0; call this script on every node, over one shared folder",
            "NODE_RANK       0, 1, ...",
            "MASTER_PORT     a free port of node 0 (29500)",
        ]
    packages = [f"{name}=={version}" for name, version in sorted(plan.packages.items())]
    lines += ["", "Addresses of artifacts are for these packages:", *(f"  {package}" for package in packages)]
    if plan.unpinned:
        lines += ["", "Nothing pins these, so that another run may differ (`llmrecipe lock` does):"]
        lines += [f"  {name}" for name in plan.unpinned]
    return "\n".join(f"# {line}".rstrip() for line in lines)
