#!/usr/bin/env bash
# Submits the run `qwen3-0-6b-distillation` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit qwen3-8b-lora/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/01-qwen3-8b-lora-prepare-data.sbatch
submit qwen3-8b-lora/tokenize 23481309650ad98755b24286b93248a3 slurm/02-qwen3-8b-lora-tokenize.sbatch qwen3-8b-lora/prepare-data
submit qwen3-8b-lora/train d6a3d23cf2f0f70e60b05e1f661b54b0 slurm/03-qwen3-8b-lora-train.sbatch qwen3-8b-lora/tokenize
submit qwen3-8b-lora/merge 88fc09ad753e11ad55a1c64704859e27 slurm/04-qwen3-8b-lora-merge.sbatch qwen3-8b-lora/train
submit qwen3-8b-lora/evaluate-perplexity f91b9b9dbbf32a09021dd6489044f7cc slurm/05-qwen3-8b-lora-evaluate-perplexity.sbatch qwen3-8b-lora/merge qwen3-8b-lora/tokenize
submit qwen3-8b-lora/export 862386c933c4ab0e6f79074501d01655 slurm/06-qwen3-8b-lora-export.sbatch qwen3-8b-lora/merge qwen3-8b-lora/prepare-data qwen3-8b-lora/tokenize qwen3-8b-lora/train qwen3-8b-lora/evaluate-perplexity
submit qwen3-0-6b-sft/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/07-qwen3-0-6b-sft-prepare-data.sbatch
submit qwen3-0-6b-sft/tokenize 4bbc06e9043ba3e47a2f939cd31ce521 slurm/08-qwen3-0-6b-sft-tokenize.sbatch qwen3-0-6b-sft/prepare-data
submit qwen3-0-6b-sft/train 746fb28b123a7eae45221b071f445791 slurm/09-qwen3-0-6b-sft-train.sbatch qwen3-0-6b-sft/tokenize
submit qwen3-0-6b-sft/evaluate-perplexity c49fd618fd6c7c1870d0b9e54e18b1f9 slurm/10-qwen3-0-6b-sft-evaluate-perplexity.sbatch qwen3-0-6b-sft/train qwen3-0-6b-sft/tokenize
submit qwen3-0-6b-sft/export c4b9f1db7e20bbb305fae7c4e801e0df slurm/11-qwen3-0-6b-sft-export.sbatch qwen3-0-6b-sft/train qwen3-0-6b-sft/prepare-data qwen3-0-6b-sft/tokenize qwen3-0-6b-sft/evaluate-perplexity
submit qwen3-0-6b-distillation/prepare-data 980fe0c785d9d7ab96f531012d811253 slurm/12-qwen3-0-6b-distillation-prepare-data.sbatch
submit qwen3-0-6b-distillation/tokenize 2058b00cf9d848134cfce397f9548149 slurm/13-qwen3-0-6b-distillation-tokenize.sbatch qwen3-0-6b-distillation/prepare-data qwen3-0-6b-sft/export
submit qwen3-0-6b-distillation/train b386b808f93806a7b61337c518f6626a slurm/14-qwen3-0-6b-distillation-train.sbatch qwen3-0-6b-distillation/tokenize qwen3-0-6b-sft/export qwen3-8b-lora/export
submit qwen3-0-6b-distillation/evaluate-perplexity 036215a917fc5c48b956fa730bf97852 slurm/15-qwen3-0-6b-distillation-evaluate-perplexity.sbatch qwen3-0-6b-distillation/train qwen3-0-6b-distillation/tokenize
submit qwen3-0-6b-distillation/export dbe302835378f78679075448aa8c693e slurm/16-qwen3-0-6b-distillation-export.sbatch qwen3-0-6b-distillation/train qwen3-0-6b-distillation/prepare-data qwen3-0-6b-distillation/tokenize qwen3-0-6b-distillation/evaluate-perplexity
