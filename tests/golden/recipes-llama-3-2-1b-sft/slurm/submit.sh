#!/usr/bin/env bash
# Submits the run `llama-3-2-1b-sft` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit llama-3-2-1b-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-llama-3-2-1b-sft-prepare-data.sbatch
submit llama-3-2-1b-sft/tokenize da929eca76dd83f87143fddb1a43e030 slurm/02-llama-3-2-1b-sft-tokenize.sbatch llama-3-2-1b-sft/prepare-data
submit llama-3-2-1b-sft/train 2b82a257053691153002059119aeed43 slurm/03-llama-3-2-1b-sft-train.sbatch llama-3-2-1b-sft/tokenize
submit llama-3-2-1b-sft/evaluate-perplexity e18780f21d4ca44a4fbadad3f344b122 slurm/04-llama-3-2-1b-sft-evaluate-perplexity.sbatch llama-3-2-1b-sft/train llama-3-2-1b-sft/tokenize
submit llama-3-2-1b-sft/export 33940dd3f9c97dc26afe060383875876 slurm/05-llama-3-2-1b-sft-export.sbatch llama-3-2-1b-sft/train llama-3-2-1b-sft/prepare-data llama-3-2-1b-sft/tokenize llama-3-2-1b-sft/evaluate-perplexity
