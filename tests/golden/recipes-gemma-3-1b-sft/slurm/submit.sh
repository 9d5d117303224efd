#!/usr/bin/env bash
# Submits the run `gemma-3-1b-sft` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit gemma-3-1b-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-gemma-3-1b-sft-prepare-data.sbatch
submit gemma-3-1b-sft/tokenize d8c3bf6744f13db7ce9f0a07c39242f5 slurm/02-gemma-3-1b-sft-tokenize.sbatch gemma-3-1b-sft/prepare-data
submit gemma-3-1b-sft/train ecfa500dab43411199a01f62972ba4c6 slurm/03-gemma-3-1b-sft-train.sbatch gemma-3-1b-sft/tokenize
submit gemma-3-1b-sft/evaluate-perplexity f7c75d039b581cd557b0d50bd2247c6e slurm/04-gemma-3-1b-sft-evaluate-perplexity.sbatch gemma-3-1b-sft/train gemma-3-1b-sft/tokenize
submit gemma-3-1b-sft/export f38dbac1cd61c1662beeb3b2ef1933f9 slurm/05-gemma-3-1b-sft-export.sbatch gemma-3-1b-sft/train gemma-3-1b-sft/prepare-data gemma-3-1b-sft/tokenize gemma-3-1b-sft/evaluate-perplexity
