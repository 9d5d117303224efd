#!/usr/bin/env bash
# Submits the run `modernbert-base-mlm` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit modernbert-base-mlm/prepare-data 39982d59770819031bdf43423c8d3dda slurm/01-modernbert-base-mlm-prepare-data.sbatch
submit modernbert-base-mlm/tokenize 3a4819386a4cadea64c613b8673adc7a slurm/02-modernbert-base-mlm-tokenize.sbatch modernbert-base-mlm/prepare-data
submit modernbert-base-mlm/train 8b5ededdc464ed9242b3dba44a488c67 slurm/03-modernbert-base-mlm-train.sbatch modernbert-base-mlm/tokenize
submit modernbert-base-mlm/evaluate-masked 3ba7535fac361f21eaaf89822ffde63c slurm/04-modernbert-base-mlm-evaluate-masked.sbatch modernbert-base-mlm/train modernbert-base-mlm/tokenize
submit modernbert-base-mlm/export 0f348c9a4f03a72e1c45cfb701e78cef slurm/05-modernbert-base-mlm-export.sbatch modernbert-base-mlm/train modernbert-base-mlm/prepare-data modernbert-base-mlm/tokenize modernbert-base-mlm/evaluate-masked
