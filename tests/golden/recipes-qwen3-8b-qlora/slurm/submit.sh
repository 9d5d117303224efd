#!/usr/bin/env bash
# Submits the run `qwen3-8b-qlora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit qwen3-8b-qlora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-qwen3-8b-qlora-prepare-data.sbatch
submit qwen3-8b-qlora/tokenize 23481309650ad98755b24286b93248a3 slurm/02-qwen3-8b-qlora-tokenize.sbatch qwen3-8b-qlora/prepare-data
submit qwen3-8b-qlora/train bd637485253c0388ed5fd9781f96ea45 slurm/03-qwen3-8b-qlora-train.sbatch qwen3-8b-qlora/tokenize
submit qwen3-8b-qlora/merge 76a9dc86dd267b44068c1e156bf5127b slurm/04-qwen3-8b-qlora-merge.sbatch qwen3-8b-qlora/train
submit qwen3-8b-qlora/evaluate-perplexity d25b6d4e42e895583a1b1c134c511757 slurm/05-qwen3-8b-qlora-evaluate-perplexity.sbatch qwen3-8b-qlora/merge qwen3-8b-qlora/tokenize
submit qwen3-8b-qlora/export af14d08ba2e9ee5375317475b2e77591 slurm/06-qwen3-8b-qlora-export.sbatch qwen3-8b-qlora/merge qwen3-8b-qlora/prepare-data qwen3-8b-qlora/tokenize qwen3-8b-qlora/train qwen3-8b-qlora/evaluate-perplexity
