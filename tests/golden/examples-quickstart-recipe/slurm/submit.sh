#!/usr/bin/env bash
# Submits the run `chat` to Slurm, written by llmrecipe; compile again instead of editing.
#
# One job for each stage that the store does not have; each waits for those that it needs. A job that is
# preempted, or whose time is over, saves a checkpoint and is queued again. Call this again after a failure.
#
# Arguments are options of sbatch, for all jobs: submit.sh --account=ME --partition=gpu --time=12:00:00
#
# LLMRECIPE_ROOT  the recipe's folder, which every node sees: data, and .llmrecipe is in it
# PYTHON          the interpreter (python3), on every node
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
default_root=..
root=$(cd -- "${LLMRECIPE_ROOT:-$here/$default_root}" && pwd) || {
  echo "submit.sh: set LLMRECIPE_ROOT to the folder of the recipe" >&2
  exit 1
}
export LLMRECIPE_COMPILED=$here LLMRECIPE_ROOT=$root
options=("$@")
declare -A job=()
mkdir -p "$root/.llmrecipe/slurm"

# submit NAME ADDRESS SCRIPT NEEDED...: nothing to do when its artifact exists.
submit() {
  local name=$1 address=$2 script=$3 after='' needed id
  shift 3
  if [[ -d $root/.llmrecipe/artifacts/$address ]]; then
    echo "$name: complete"
    return
  fi
  for needed in "$@"; do
    [[ -z ${job[$needed]:-} ]] || after+=":${job[$needed]}"
  done
  local words=(--parsable --export=ALL --chdir="$root" --output="$root/.llmrecipe/slurm/%x-%j.log")
  [[ -z $after ]] || words+=(--dependency="afterok$after" --kill-on-invalid-dep=yes)
  id=$(sbatch "${words[@]}" "${options[@]}" "$here/$script")
  job[$name]=${id%%;*}
  echo "$name: job ${job[$name]}"
}

submit pretrain/prepare-data d820aab593b027581c8e1e96083c732d slurm/01-pretrain-prepare-data.sbatch
submit pretrain/train-tokenizer 0bb4d006c79a4ed5681c6d79f8eae2b6 slurm/02-pretrain-train-tokenizer.sbatch pretrain/prepare-data
submit pretrain/tokenize 653b90d18d545ce3b4941f277927748d slurm/03-pretrain-tokenize.sbatch pretrain/prepare-data pretrain/train-tokenizer
submit pretrain/train ed05aeee8e1135aca7bff8732dae4b48 slurm/04-pretrain-train.sbatch pretrain/tokenize
submit pretrain/evaluate-perplexity fc77bfd2d0cdad03999c13bb464e3737 slurm/05-pretrain-evaluate-perplexity.sbatch pretrain/train pretrain/tokenize
submit pretrain/evaluate-questions 44a18e4cd60b663b0208378899b53ba1 slurm/06-pretrain-evaluate-questions.sbatch pretrain/train
submit pretrain/export 347f42aa4faf2c40965a697119155c46 slurm/07-pretrain-export.sbatch pretrain/train pretrain/prepare-data pretrain/tokenize pretrain/evaluate-perplexity pretrain/evaluate-questions
submit chat/prepare-data 749ae89855d4d8e2791dc308400bf4e1 slurm/08-chat-prepare-data.sbatch
submit chat/tokenize 81e835a82eb3f86e2e9b61bc6c33437a slurm/09-chat-tokenize.sbatch chat/prepare-data pretrain/export
submit chat/train a58b69cf9935ca78fc902b571edf2b39 slurm/10-chat-train.sbatch chat/tokenize pretrain/export
submit chat/evaluate-questions 171544d0c47784ec852b49766c60bec8 slurm/11-chat-evaluate-questions.sbatch chat/train
submit chat/check-gates 01eda072555794851e38eb54d2ba0372 slurm/12-chat-check-gates.sbatch chat/evaluate-questions
submit chat/export d01b404497641953e41ba2b5f7fbab73 slurm/13-chat-export.sbatch chat/train chat/prepare-data chat/tokenize chat/evaluate-questions chat/check-gates
