#!/usr/bin/env bash
# Submits the run `mistral-7b-sft` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit mistral-7b-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-mistral-7b-sft-prepare-data.sbatch
submit mistral-7b-sft/tokenize c5c83414fe3c03ea58916be81bff0484 slurm/02-mistral-7b-sft-tokenize.sbatch mistral-7b-sft/prepare-data
submit mistral-7b-sft/train 214b413caf9ef3f959354d396ec9acb9 slurm/03-mistral-7b-sft-train.sbatch mistral-7b-sft/tokenize
submit mistral-7b-sft/evaluate-perplexity 9821d072f811ac1569c1e66585c9a5c5 slurm/04-mistral-7b-sft-evaluate-perplexity.sbatch mistral-7b-sft/train mistral-7b-sft/tokenize
submit mistral-7b-sft/export e460990db31a3de93e8990e1f5e88431 slurm/05-mistral-7b-sft-export.sbatch mistral-7b-sft/train mistral-7b-sft/prepare-data mistral-7b-sft/tokenize mistral-7b-sft/evaluate-perplexity
