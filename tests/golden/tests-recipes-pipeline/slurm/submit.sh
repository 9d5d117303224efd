#!/usr/bin/env bash
# Submits the run `answers` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit rhymes/prepare-data 7abd828e056159046e36065919473aca slurm/01-rhymes-prepare-data.sbatch
submit rhymes/train-tokenizer e50a7d0e32dbd514ff3eea3d4540355c slurm/02-rhymes-train-tokenizer.sbatch rhymes/prepare-data
submit rhymes/tokenize 184d099dc7c97522946c8143b02e0d92 slurm/03-rhymes-tokenize.sbatch rhymes/prepare-data rhymes/train-tokenizer
submit rhymes/train 65d2705a4c952e367083c046fa5dd5ea slurm/04-rhymes-train.sbatch rhymes/tokenize
submit rhymes/export 4e840130a3ccb4a01b821f2981313396 slurm/05-rhymes-export.sbatch rhymes/train rhymes/prepare-data rhymes/tokenize
submit answers/prepare-data b19d853ed765c33cb089f0f824c5fbfa slurm/06-answers-prepare-data.sbatch
submit answers/tokenize 675c149d10968031b28bede57f785044 slurm/07-answers-tokenize.sbatch answers/prepare-data rhymes/export
submit answers/train 314c17f229111f6701488ac3458d2acf slurm/08-answers-train.sbatch answers/tokenize rhymes/export
submit answers/merge a0e46f7c5e1959009534d45aaaa876a9 slurm/09-answers-merge.sbatch answers/train rhymes/export
submit answers/export fb1969a6183e1984f248869a815ae2c1 slurm/10-answers-export.sbatch answers/merge answers/prepare-data answers/tokenize answers/train
