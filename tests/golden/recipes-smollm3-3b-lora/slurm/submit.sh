#!/usr/bin/env bash
# Submits the run `smollm3-3b-lora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit smollm3-3b-lora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-smollm3-3b-lora-prepare-data.sbatch
submit smollm3-3b-lora/tokenize f8748bff8af8b859061eb062c6377950 slurm/02-smollm3-3b-lora-tokenize.sbatch smollm3-3b-lora/prepare-data
submit smollm3-3b-lora/train 50c39cad1ee8f5674071bf4f916d4329 slurm/03-smollm3-3b-lora-train.sbatch smollm3-3b-lora/tokenize
submit smollm3-3b-lora/merge 92848080588ea15686958c3539920299 slurm/04-smollm3-3b-lora-merge.sbatch smollm3-3b-lora/train
submit smollm3-3b-lora/evaluate-perplexity eb530fce55610b6394015577e090bcb4 slurm/05-smollm3-3b-lora-evaluate-perplexity.sbatch smollm3-3b-lora/merge smollm3-3b-lora/tokenize
submit smollm3-3b-lora/export eb0fb6bf4786765b0d8a561747db6ef3 slurm/06-smollm3-3b-lora-export.sbatch smollm3-3b-lora/merge smollm3-3b-lora/prepare-data smollm3-3b-lora/tokenize smollm3-3b-lora/train smollm3-3b-lora/evaluate-perplexity
