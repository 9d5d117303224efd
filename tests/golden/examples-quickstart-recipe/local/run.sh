#!/usr/bin/env bash
# The run `chat`, written by llmrecipe; compile again instead of editing.
#
# Does every stage that the store does not have, with nothing but the files beside this one and the installed
# packages. A second call does nothing; a call after a kill goes on where the first was.
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

set -m # Each stage is a process group of its own: Ctrl-C reaches it once, through us.
child='' stopped=''
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM INT

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
    exit 130
  fi
  [[ -d .llmrecipe/artifacts/$1 ]]
}

# stage NAME ADDRESS NODES COMMAND...: nothing to do when its artifact exists.
stage() {
  local name=$1 address=$2 nodes=$3 code=0
  shift 3
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

stage pretrain/prepare-data 46e80b0355c6af717f69fdff776f6652 1 \
  "$python" -m llmrecipe.stages "$here/stages/01-pretrain-prepare-data.json"
stage pretrain/train-tokenizer cefcebab6ddd77b64eeb8417b8c23113 1 \
  "$python" -m llmrecipe.stages "$here/stages/02-pretrain-train-tokenizer.json"
stage pretrain/tokenize 35e401826d488f7e3fb24a8030f524e5 1 \
  "$python" -m llmrecipe.stages "$here/stages/03-pretrain-tokenize.json"
stage pretrain/train cd2897613182c3bfb700cb9fa51bf81b 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/pretrain-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/04-pretrain-train.json"
stage pretrain/evaluate-perplexity 46ac5a0122c3a4361610a89f1aa2874f 1 \
  "$python" -m llmrecipe.stages "$here/stages/05-pretrain-evaluate-perplexity.json"
stage pretrain/evaluate-questions ff37302a30145fcca6a5fcb3bf5473f9 1 \
  "$python" -m llmrecipe.stages "$here/stages/06-pretrain-evaluate-questions.json"
stage pretrain/export 09ef79ac3e7c916e0d3bda9a5523b419 1 \
  "$python" -m llmrecipe.stages "$here/stages/07-pretrain-export.json"
stage chat/prepare-data 965e04b92bd1a659dc6858322872e42c 1 \
  "$python" -m llmrecipe.stages "$here/stages/08-chat-prepare-data.json"
stage chat/tokenize 6ec638e62c8e221230d3f29cca610d33 1 \
  "$python" -m llmrecipe.stages "$here/stages/09-chat-tokenize.json"
stage chat/train 3510a362b299d05cee3732db89732337 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/chat-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/10-chat-train.json"
stage chat/evaluate-questions c907955ac98baaf1c5df4e8607d36b36 1 \
  "$python" -m llmrecipe.stages "$here/stages/11-chat-evaluate-questions.json"
stage chat/check-gates b7317b63b8792a7a6db8ff4e7169a04f 1 \
  "$python" -m llmrecipe.stages "$here/stages/12-chat-check-gates.json"
stage chat/export af43d4fc07d29980f69d7920e8b4fd5d 1 \
  "$python" -m llmrecipe.stages "$here/stages/13-chat-export.json"

echo "pretrain/export: .llmrecipe/artifacts/09ef79ac3e7c916e0d3bda9a5523b419/model"
echo "chat/export: .llmrecipe/artifacts/af43d4fc07d29980f69d7920e8b4fd5d/model"
