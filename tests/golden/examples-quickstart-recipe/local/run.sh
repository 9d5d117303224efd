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

stage pretrain/prepare-data 7fdf3bed0b50f1c85ac66a16f30854a9 1 \
  "$python" -m llmrecipe.stages "$here/stages/01-pretrain-prepare-data.json"
stage pretrain/train-tokenizer 41b9c701d5c649123a79d2feedbd8e10 1 \
  "$python" -m llmrecipe.stages "$here/stages/02-pretrain-train-tokenizer.json"
stage pretrain/tokenize e5e6a6475e7f9d29e57b79c280ffde0a 1 \
  "$python" -m llmrecipe.stages "$here/stages/03-pretrain-tokenize.json"
stage pretrain/train 7788e6c61e39cf4f676a19198bdf8ca9 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/pretrain-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/04-pretrain-train.json"
stage pretrain/evaluate-perplexity dcd4e71e124092036d5a6aaf69c92838 1 \
  "$python" -m llmrecipe.stages "$here/stages/05-pretrain-evaluate-perplexity.json"
stage pretrain/evaluate-questions 127eb2c5fa0c2255d4a6282ed644ce6f 1 \
  "$python" -m llmrecipe.stages "$here/stages/06-pretrain-evaluate-questions.json"
stage pretrain/export 24f41a47008161bf4342fe03a8cd0e13 1 \
  "$python" -m llmrecipe.stages "$here/stages/07-pretrain-export.json"
stage chat/prepare-data aa3bb5677109bb28e962b11431d805d1 1 \
  "$python" -m llmrecipe.stages "$here/stages/08-chat-prepare-data.json"
stage chat/tokenize 06210f65c45df6cc78e84dcd061bacae 1 \
  "$python" -m llmrecipe.stages "$here/stages/09-chat-tokenize.json"
stage chat/train f80fbb94087e3bd7b333a8b6d4eb270b 1 \
  env "$(threads 1)" \
  "$python" -m accelerate.commands.launch --config_file "$here/accelerate/chat-train.yaml" --quiet \
  -m llmrecipe.stages "$here/stages/10-chat-train.json"
stage chat/evaluate-questions 93eb791f028839f398716f93b16a28ca 1 \
  "$python" -m llmrecipe.stages "$here/stages/11-chat-evaluate-questions.json"
stage chat/check-gates eb1bf38068c651546d0ac060f78453e9 1 \
  "$python" -m llmrecipe.stages "$here/stages/12-chat-check-gates.json"
stage chat/export 649b55d61ea6385466d3349917998465 1 \
  "$python" -m llmrecipe.stages "$here/stages/13-chat-export.json"

echo "pretrain/export: .llmrecipe/artifacts/24f41a47008161bf4342fe03a8cd0e13/model"
echo "chat/export: .llmrecipe/artifacts/649b55d61ea6385466d3349917998465/model"
