#!/usr/bin/env bash
# The run `sharded`, written by llmrecipe; compile again instead of editing.
#
# Does every stage that the store does not have, with nothing but the files beside this one and the installed
# packages. A second call does nothing; a call after a kill goes on where the first was. With names of stages
# (`run.sh RECIPE/STAGE ...`) it does these alone.
#
# LLMRECIPE_ROOT  the recipe's folder: its data files are found from here, and .llmrecipe is in it
# PYTHON          the interpreter (python3)
# MASTER_ADDR     the address of node 0; call this script on every node, over one shared folder
# NODE_RANK       0, 1, ...
# MASTER_PORT     a free port of node 0 (29500)
#
# Addresses of artifacts are for these packages:
#   accelerate==1.0.0
#   datasets==1.0.0
#   llmrecipe==0.0.0
#   peft==1.0.0
#   pyarrow==1.0.0
#   safetensors==1.0.0
#   tokenizers==1.0.0
#   torch==1.0.0
#   transformers==1.0.0
#   trl==1.0.0
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
default_root=..
root=${LLMRECIPE_ROOT:-$here/$default_root}
cd -- "$root" || { echo "run.sh: set LLMRECIPE_ROOT to the folder of the recipe" >&2; exit 1; }
python=${PYTHON:-python3}
only=("$@") # Names of stages.
: "${MASTER_ADDR:?run.sh: set MASTER_ADDR to the address of node 0, and NODE_RANK to 0, 1, ... on each node}"
: "${NODE_RANK:?run.sh: set NODE_RANK to 0, 1, ... on each node}"
rendezvous=(--machine_rank "$NODE_RANK" --main_process_ip "$MASTER_ADDR" --main_process_port "${MASTER_PORT:-29500}")

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
  [[ -d .llmrecipe/artifacts/$1 ]]
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
    exec 9>>".llmrecipe/locks/$address.lock"
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
    echo "$name: failed (exit code $code); .llmrecipe/work/$address/outcome.json says why" >&2
    exit "$code"
  fi
  if ((${NODE_RANK:-0} == 0)); then
    rm -rf ".llmrecipe/work/$address" ".llmrecipe/locks/$address.lock"
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

mkdir -p .llmrecipe/artifacts .llmrecipe/work .llmrecipe/locks
[[ -e .llmrecipe/store.json ]] || echo '{"version": 1}' >.llmrecipe/store.json
if ! grep -qF '{"version": 1}' .llmrecipe/store.json; then
  echo "run.sh: $PWD/.llmrecipe is a store of another version of llmrecipe" >&2
  exit 1
fi

stage sharded/prepare-data b19d853ed765c33cb089f0f824c5fbfa 1 \
  "$python" -m llmrecipe.stages "$here/stages/01-sharded-prepare-data.json"
stage sharded/tokenize c69e6bbccf1319c8049a91abe911905c 1 \
  "$python" -m llmrecipe.stages "$here/stages/02-sharded-tokenize.json"
stage sharded/train 68f599b633632ec0e4b008e2bd533322 4 \
  env "$(threads 8)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/sharded-train.yaml" --quiet "${rendezvous[@]}" \
  -m llmrecipe.stages "$here/stages/03-sharded-train.json"
stage sharded/export d1c73313f038933fca429bfc579fb7ec 1 \
  "$python" -m llmrecipe.stages "$here/stages/04-sharded-export.json"

if wanted sharded/export; then echo "sharded/export: .llmrecipe/artifacts/d1c73313f038933fca429bfc579fb7ec/model"; fi
