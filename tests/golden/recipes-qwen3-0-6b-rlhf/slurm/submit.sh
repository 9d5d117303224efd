#!/usr/bin/env bash
# Submits the run `qwen3-0-6b-rlhf` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit qwen3-0-6b-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-qwen3-0-6b-sft-prepare-data.sbatch
submit qwen3-0-6b-sft/tokenize 4bbc06e9043ba3e47a2f939cd31ce521 slurm/02-qwen3-0-6b-sft-tokenize.sbatch qwen3-0-6b-sft/prepare-data
submit qwen3-0-6b-sft/train 746fb28b123a7eae45221b071f445791 slurm/03-qwen3-0-6b-sft-train.sbatch qwen3-0-6b-sft/tokenize
submit qwen3-0-6b-sft/evaluate-perplexity c49fd618fd6c7c1870d0b9e54e18b1f9 slurm/04-qwen3-0-6b-sft-evaluate-perplexity.sbatch qwen3-0-6b-sft/train qwen3-0-6b-sft/tokenize
submit qwen3-0-6b-sft/export c4b9f1db7e20bbb305fae7c4e801e0df slurm/05-qwen3-0-6b-sft-export.sbatch qwen3-0-6b-sft/train qwen3-0-6b-sft/prepare-data qwen3-0-6b-sft/tokenize qwen3-0-6b-sft/evaluate-perplexity
submit qwen3-0-6b-judge/prepare-data 5cc6ae139c3d11ff94a2ac7dc46d5156 slurm/06-qwen3-0-6b-judge-prepare-data.sbatch
submit qwen3-0-6b-judge/tokenize f1fb371b08bdb5caf1487838048c68c0 slurm/07-qwen3-0-6b-judge-tokenize.sbatch qwen3-0-6b-judge/prepare-data qwen3-0-6b-sft/export
submit qwen3-0-6b-judge/train 25ef049aacfaac790dc953bd0e949a8e slurm/08-qwen3-0-6b-judge-train.sbatch qwen3-0-6b-judge/tokenize qwen3-0-6b-sft/export
submit qwen3-0-6b-judge/export 56bc9fafcdcb4a94ebefe0b034880573 slurm/09-qwen3-0-6b-judge-export.sbatch qwen3-0-6b-judge/train qwen3-0-6b-judge/prepare-data qwen3-0-6b-judge/tokenize
submit qwen3-0-6b-rlhf/prepare-data 3da028da2077490f1c53a013de521739 slurm/10-qwen3-0-6b-rlhf-prepare-data.sbatch
submit qwen3-0-6b-rlhf/tokenize 7fa01e3598532a758b68649ec57ea4a5 slurm/11-qwen3-0-6b-rlhf-tokenize.sbatch qwen3-0-6b-rlhf/prepare-data qwen3-0-6b-sft/export
submit qwen3-0-6b-rlhf/train 64c8d9a4364d06a57afbed8973117b11 slurm/12-qwen3-0-6b-rlhf-train.sbatch qwen3-0-6b-rlhf/tokenize qwen3-0-6b-sft/export qwen3-0-6b-judge/export
submit qwen3-0-6b-rlhf/merge 6d2f0e08d792671d9fed820577d0f637 slurm/13-qwen3-0-6b-rlhf-merge.sbatch qwen3-0-6b-rlhf/train qwen3-0-6b-sft/export
submit qwen3-0-6b-rlhf/evaluate-reward f90ed9984280ed2f0dee4551e4ea5055 slurm/14-qwen3-0-6b-rlhf-evaluate-reward.sbatch qwen3-0-6b-rlhf/merge qwen3-0-6b-judge/export
submit qwen3-0-6b-rlhf/export 85e617999c3e8412e1a8d94c7b69a084 slurm/15-qwen3-0-6b-rlhf-export.sbatch qwen3-0-6b-rlhf/merge qwen3-0-6b-rlhf/prepare-data qwen3-0-6b-rlhf/tokenize qwen3-0-6b-rlhf/train qwen3-0-6b-rlhf/evaluate-reward
