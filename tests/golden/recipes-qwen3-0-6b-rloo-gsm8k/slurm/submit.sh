#!/usr/bin/env bash
# Submits the run `qwen3-0-6b-rloo-gsm8k` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit qwen3-0-6b-sft-gsm8k/prepare-data d36951dc65d3e603c51d6855408f2277 slurm/01-qwen3-0-6b-sft-gsm8k-prepare-data.sbatch
submit qwen3-0-6b-sft-gsm8k/tokenize 615cd8d91aa7a80bd386c63435e63c4d slurm/02-qwen3-0-6b-sft-gsm8k-tokenize.sbatch qwen3-0-6b-sft-gsm8k/prepare-data
submit qwen3-0-6b-sft-gsm8k/train 4120a33d0ac251856c48a06ad7adf762 slurm/03-qwen3-0-6b-sft-gsm8k-train.sbatch qwen3-0-6b-sft-gsm8k/tokenize
submit qwen3-0-6b-sft-gsm8k/evaluate-reward 4a452e70e16da42f23c860283c6c3fe2 slurm/04-qwen3-0-6b-sft-gsm8k-evaluate-reward.sbatch qwen3-0-6b-sft-gsm8k/train
submit qwen3-0-6b-sft-gsm8k/export f7cadee4a2593c69b4101e99847aabee slurm/05-qwen3-0-6b-sft-gsm8k-export.sbatch qwen3-0-6b-sft-gsm8k/train qwen3-0-6b-sft-gsm8k/prepare-data qwen3-0-6b-sft-gsm8k/tokenize qwen3-0-6b-sft-gsm8k/evaluate-reward
submit qwen3-0-6b-rloo-gsm8k/prepare-data ee8a2871587358daa9e553113083c2c6 slurm/06-qwen3-0-6b-rloo-gsm8k-prepare-data.sbatch
submit qwen3-0-6b-rloo-gsm8k/tokenize 2b92b8c1a19e45abc519b3e6c79e042e slurm/07-qwen3-0-6b-rloo-gsm8k-tokenize.sbatch qwen3-0-6b-rloo-gsm8k/prepare-data qwen3-0-6b-sft-gsm8k/export
submit qwen3-0-6b-rloo-gsm8k/train 670a14e8ae39302a01c5182ab58a86b3 slurm/08-qwen3-0-6b-rloo-gsm8k-train.sbatch qwen3-0-6b-rloo-gsm8k/tokenize qwen3-0-6b-sft-gsm8k/export
submit qwen3-0-6b-rloo-gsm8k/evaluate-reward c53f94b6187722d658461994a73767f4 slurm/09-qwen3-0-6b-rloo-gsm8k-evaluate-reward.sbatch qwen3-0-6b-rloo-gsm8k/train
submit qwen3-0-6b-rloo-gsm8k/export 9b314c57af247e53f7af1aa1387278c4 slurm/10-qwen3-0-6b-rloo-gsm8k-export.sbatch qwen3-0-6b-rloo-gsm8k/train qwen3-0-6b-rloo-gsm8k/prepare-data qwen3-0-6b-rloo-gsm8k/tokenize qwen3-0-6b-rloo-gsm8k/evaluate-reward
