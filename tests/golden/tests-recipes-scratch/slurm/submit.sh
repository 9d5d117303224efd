#!/usr/bin/env bash
# Submits the run `scratch` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit scratch/prepare-data 99cb86c16080b1ed1b68b59c6d08a327 slurm/01-scratch-prepare-data.sbatch
submit scratch/train-tokenizer 7fa552510e3a94e2bee90f55e7d9c7fa slurm/02-scratch-train-tokenizer.sbatch scratch/prepare-data
submit scratch/tokenize 33c466063ec6135d46dd5d2027e1df48 slurm/03-scratch-tokenize.sbatch scratch/prepare-data scratch/train-tokenizer
submit scratch/train 33e8d98ba240f99f2352450661c25d04 slurm/04-scratch-train.sbatch scratch/tokenize
submit scratch/evaluate-perplexity aed3a8de3476dac4a1109111057f781c slurm/05-scratch-evaluate-perplexity.sbatch scratch/train scratch/tokenize
submit scratch/export a2ca6b0573aa5a8192ca6d355d5ecd01 slurm/06-scratch-export.sbatch scratch/train scratch/prepare-data scratch/tokenize scratch/evaluate-perplexity
