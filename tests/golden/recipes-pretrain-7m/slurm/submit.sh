#!/usr/bin/env bash
# Submits the run `pretrain-7m` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit pretrain-7m/prepare-data c2bba0948fbb45c245ebae47ae51224c slurm/01-pretrain-7m-prepare-data.sbatch
submit pretrain-7m/train-tokenizer 5d749fc4972d102ce18827a04607c237 slurm/02-pretrain-7m-train-tokenizer.sbatch pretrain-7m/prepare-data
submit pretrain-7m/tokenize f28d1a26803148d28ff98e7505ae369b slurm/03-pretrain-7m-tokenize.sbatch pretrain-7m/prepare-data pretrain-7m/train-tokenizer
submit pretrain-7m/train f926c8f6fd35fe6f1faed3d8a8028889 slurm/04-pretrain-7m-train.sbatch pretrain-7m/tokenize
submit pretrain-7m/evaluate-perplexity ef0fa34f1d9b6f938889076200b2f30f slurm/05-pretrain-7m-evaluate-perplexity.sbatch pretrain-7m/train pretrain-7m/tokenize
submit pretrain-7m/export 5278891ed953a9295df515e5eef96f6b slurm/06-pretrain-7m-export.sbatch pretrain-7m/train pretrain-7m/prepare-data pretrain-7m/tokenize pretrain-7m/evaluate-perplexity
