#!/usr/bin/env bash
# Submits the run `smollm2-135m-continued` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit smollm2-135m-continued/prepare-data 39982d59770819031bdf43423c8d3dda slurm/01-smollm2-135m-continued-prepare-data.sbatch
submit smollm2-135m-continued/tokenize e2dff20d5274a7c56e25f438df63f7bc slurm/02-smollm2-135m-continued-tokenize.sbatch smollm2-135m-continued/prepare-data
submit smollm2-135m-continued/train df1762cdf90c6fd203b255db7a0984ed slurm/03-smollm2-135m-continued-train.sbatch smollm2-135m-continued/tokenize
submit smollm2-135m-continued/evaluate-perplexity ae0166b46a1df863c9cd137a6bce317c slurm/04-smollm2-135m-continued-evaluate-perplexity.sbatch smollm2-135m-continued/train smollm2-135m-continued/tokenize
submit smollm2-135m-continued/export 3977b87b8d6cc22b18eefc04e6d2a3a5 slurm/05-smollm2-135m-continued-export.sbatch smollm2-135m-continued/train smollm2-135m-continued/prepare-data smollm2-135m-continued/tokenize smollm2-135m-continued/evaluate-perplexity
