#!/usr/bin/env bash
# Submits the run `falcon3-1b-lora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit falcon3-1b-lora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-falcon3-1b-lora-prepare-data.sbatch
submit falcon3-1b-lora/tokenize 50af3fc5b79894b3d38a5daea7ac2d8a slurm/02-falcon3-1b-lora-tokenize.sbatch falcon3-1b-lora/prepare-data
submit falcon3-1b-lora/train e52fd2503164e14d7528a3d6d22b09a9 slurm/03-falcon3-1b-lora-train.sbatch falcon3-1b-lora/tokenize
submit falcon3-1b-lora/merge a966f5b5f172dd3dd8b13eb189a1852f slurm/04-falcon3-1b-lora-merge.sbatch falcon3-1b-lora/train
submit falcon3-1b-lora/evaluate-perplexity 3ca24ec81877c9e78bbc653ad44b76f8 slurm/05-falcon3-1b-lora-evaluate-perplexity.sbatch falcon3-1b-lora/merge falcon3-1b-lora/tokenize
submit falcon3-1b-lora/export d9d4f19bd94b2d1f4d9a65ba455d3eb1 slurm/06-falcon3-1b-lora-export.sbatch falcon3-1b-lora/merge falcon3-1b-lora/prepare-data falcon3-1b-lora/tokenize falcon3-1b-lora/train falcon3-1b-lora/evaluate-perplexity
