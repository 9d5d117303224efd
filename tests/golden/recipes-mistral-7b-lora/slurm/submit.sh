#!/usr/bin/env bash
# Submits the run `mistral-7b-lora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit mistral-7b-lora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-mistral-7b-lora-prepare-data.sbatch
submit mistral-7b-lora/tokenize c5c83414fe3c03ea58916be81bff0484 slurm/02-mistral-7b-lora-tokenize.sbatch mistral-7b-lora/prepare-data
submit mistral-7b-lora/train 83209460ad8934eed00f2ed73a896ec0 slurm/03-mistral-7b-lora-train.sbatch mistral-7b-lora/tokenize
submit mistral-7b-lora/merge b4907d3ed52112da8ef63ce82692324e slurm/04-mistral-7b-lora-merge.sbatch mistral-7b-lora/train
submit mistral-7b-lora/evaluate-perplexity f8cdf0a8f11c1bcd5d1566386cb5b554 slurm/05-mistral-7b-lora-evaluate-perplexity.sbatch mistral-7b-lora/merge mistral-7b-lora/tokenize
submit mistral-7b-lora/export 0fc86a90367d40636f75494b740ff01f slurm/06-mistral-7b-lora-export.sbatch mistral-7b-lora/merge mistral-7b-lora/prepare-data mistral-7b-lora/tokenize mistral-7b-lora/train mistral-7b-lora/evaluate-perplexity
