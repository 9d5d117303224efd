#!/usr/bin/env bash
# Submits the run `qwen3-0-6b-orpo` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit qwen3-0-6b-orpo/prepare-data 44c1078bb1ee8eeb166ef2083f713750 slurm/01-qwen3-0-6b-orpo-prepare-data.sbatch
submit qwen3-0-6b-orpo/tokenize eec8c4056750d10c8b418a1d593532c2 slurm/02-qwen3-0-6b-orpo-tokenize.sbatch qwen3-0-6b-orpo/prepare-data
submit qwen3-0-6b-orpo/train f2a6bd2073c01f3f128e9b6c9114828a slurm/03-qwen3-0-6b-orpo-train.sbatch qwen3-0-6b-orpo/tokenize
submit qwen3-0-6b-orpo/export 8bab966d12d962508f336a530f2dacfe slurm/04-qwen3-0-6b-orpo-export.sbatch qwen3-0-6b-orpo/train qwen3-0-6b-orpo/prepare-data qwen3-0-6b-orpo/tokenize
