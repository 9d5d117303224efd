#!/usr/bin/env bash
# Submits the run `smollm2-135m-sft` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit smollm2-135m-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-smollm2-135m-sft-prepare-data.sbatch
submit smollm2-135m-sft/tokenize ee4a3f3f5839033590232deb3c813345 slurm/02-smollm2-135m-sft-tokenize.sbatch smollm2-135m-sft/prepare-data
submit smollm2-135m-sft/train aeeac0a78e896600fa2e7c301e8cceed slurm/03-smollm2-135m-sft-train.sbatch smollm2-135m-sft/tokenize
submit smollm2-135m-sft/evaluate-perplexity e55ebbb1aaa56e10f1200b4823fc27c6 slurm/04-smollm2-135m-sft-evaluate-perplexity.sbatch smollm2-135m-sft/train smollm2-135m-sft/tokenize
submit smollm2-135m-sft/export 8db8cd45829fd5c411a4d2aa11defb69 slurm/05-smollm2-135m-sft-export.sbatch smollm2-135m-sft/train smollm2-135m-sft/prepare-data smollm2-135m-sft/tokenize smollm2-135m-sft/evaluate-perplexity
