#!/usr/bin/env bash
# Submits the run `gemma-3-1b-lora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit gemma-3-1b-lora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-gemma-3-1b-lora-prepare-data.sbatch
submit gemma-3-1b-lora/tokenize 4341e7b60485790f547339845f34176a slurm/02-gemma-3-1b-lora-tokenize.sbatch gemma-3-1b-lora/prepare-data
submit gemma-3-1b-lora/train 0210fc3aecbe47f1619857889d9a5138 slurm/03-gemma-3-1b-lora-train.sbatch gemma-3-1b-lora/tokenize
submit gemma-3-1b-lora/merge 4dcd7bee3c93e903ae79c169483a0781 slurm/04-gemma-3-1b-lora-merge.sbatch gemma-3-1b-lora/train
submit gemma-3-1b-lora/evaluate-perplexity ec6e0e8343c0d64f74b1fe0affaf5bbc slurm/05-gemma-3-1b-lora-evaluate-perplexity.sbatch gemma-3-1b-lora/merge gemma-3-1b-lora/tokenize
submit gemma-3-1b-lora/export 5012eb8ed5013a833319b576d50d7bfa slurm/06-gemma-3-1b-lora-export.sbatch gemma-3-1b-lora/merge gemma-3-1b-lora/prepare-data gemma-3-1b-lora/tokenize gemma-3-1b-lora/train gemma-3-1b-lora/evaluate-perplexity
