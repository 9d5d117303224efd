#!/usr/bin/env bash
# The run `chat`, written by llmrecipe; compile again instead of editing.
#
# Does every stage that the store does not have, with nothing but the files beside this one and the installed
# packages. A second call does nothing; a call after a kill goes on where the first was. With names of stages
# (`run.sh RECIPE/STAGE ...`) it does these alone.
#
# LLMRECIPE_ROOT  the recipe's folder: its data files are found from here, and .llmrecipe is in it
# PYTHON          the interpreter (python3)
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

stage pretrain/prepare-data d820aab593b027581c8e1e96083c732d 1 \
  "$python" -m llmrecipe.stages "$here/stages/01-pretrain-prepare-data.json"
stage pretrain/train-tokenizer 0bb4d006c79a4ed5681c6d79f8eae2b6 1 \
  "$python" -m llmrecipe.stages "$here/stages/02-pretrain-train-tokenizer.json"
stage pretrain/tokenize 653b90d18d545ce3b4941f277927748d 1 \
  "$python" -m llmrecipe.stages "$here/stages/03-pretrain-tokenize.json"
stage pretrain/train ed05aeee8e1135aca7bff8732dae4b48 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/pretrain-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/04-pretrain-train.json"
stage pretrain/evaluate-perplexity fc77bfd2d0cdad03999c13bb464e3737 1 \
  "$python" -m llmrecipe.stages "$here/stages/05-pretrain-evaluate-perplexity.json"
stage pretrain/evaluate-questions 44a18e4cd60b663b0208378899b53ba1 1 \
  "$python" -m llmrecipe.stages "$here/stages/06-pretrain-evaluate-questions.json"
stage pretrain/export 347f42aa4faf2c40965a697119155c46 1 \
  "$python" -m llmrecipe.stages "$here/stages/07-pretrain-export.json"
stage chat/prepare-data 749ae89855d4d8e2791dc308400bf4e1 1 \
  "$python" -m llmrecipe.stages "$here/stages/08-chat-prepare-data.json"
stage chat/tokenize 81e835a82eb3f86e2e9b61bc6c33437a 1 \
  "$python" -m llmrecipe.stages "$here/stages/09-chat-tokenize.json"
stage chat/train a58b69cf9935ca78fc902b571edf2b39 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/chat-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/10-chat-train.json"
stage chat/evaluate-questions 171544d0c47784ec852b49766c60bec8 1 \
  "$python" -m llmrecipe.stages "$here/stages/11-chat-evaluate-questions.json"
stage chat/check-gates 01eda072555794851e38eb54d2ba0372 1 \
  "$python" -m llmrecipe.stages "$here/stages/12-chat-check-gates.json"
stage chat/export d01b404497641953e41ba2b5f7fbab73 1 \
  "$python" -m llmrecipe.stages "$here/stages/13-chat-export.json"

if wanted pretrain/export; then echo "pretrain/export: .llmrecipe/artifacts/347f42aa4faf2c40965a697119155c46/model"; fi
if wanted chat/export; then echo "chat/export: .llmrecipe/artifacts/d01b404497641953e41ba2b5f7fbab73/model"; fi
