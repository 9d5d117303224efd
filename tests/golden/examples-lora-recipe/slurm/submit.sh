#!/usr/bin/env bash
# Submits the run `chat-lora` to Slurm, written by llmrecipe; compile again instead of editing.
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

submit pretrain/prepare-data d820aab593b027581c8e1e96083c732d slurm/01-pretrain-prepare-data.sbatch
submit pretrain/train-tokenizer 0bb4d006c79a4ed5681c6d79f8eae2b6 slurm/02-pretrain-train-tokenizer.sbatch pretrain/prepare-data
submit pretrain/tokenize 653b90d18d545ce3b4941f277927748d slurm/03-pretrain-tokenize.sbatch pretrain/prepare-data pretrain/train-tokenizer
submit pretrain/train ed05aeee8e1135aca7bff8732dae4b48 slurm/04-pretrain-train.sbatch pretrain/tokenize
submit pretrain/evaluate-perplexity fc77bfd2d0cdad03999c13bb464e3737 slurm/05-pretrain-evaluate-perplexity.sbatch pretrain/train pretrain/tokenize
submit pretrain/evaluate-questions 44a18e4cd60b663b0208378899b53ba1 slurm/06-pretrain-evaluate-questions.sbatch pretrain/train
submit pretrain/export 347f42aa4faf2c40965a697119155c46 slurm/07-pretrain-export.sbatch pretrain/train pretrain/prepare-data pretrain/tokenize pretrain/evaluate-perplexity pretrain/evaluate-questions
submit chat-lora/prepare-data 749ae89855d4d8e2791dc308400bf4e1 slurm/08-chat-lora-prepare-data.sbatch
submit chat-lora/tokenize 81e835a82eb3f86e2e9b61bc6c33437a slurm/09-chat-lora-tokenize.sbatch chat-lora/prepare-data pretrain/export
submit chat-lora/train 7b58d3b1a3463669689a13b19662cc86 slurm/10-chat-lora-train.sbatch chat-lora/tokenize pretrain/export
submit chat-lora/merge 84241c6f6b729a88aa031fce49530fa6 slurm/11-chat-lora-merge.sbatch chat-lora/train pretrain/export
submit chat-lora/evaluate-questions 6f0ae200b39f0e30a15ad7b87ee221e5 slurm/12-chat-lora-evaluate-questions.sbatch chat-lora/merge
submit chat-lora/check-gates ff04ad916805f95dc0e884c7a2c88197 slurm/13-chat-lora-check-gates.sbatch chat-lora/evaluate-questions
submit chat-lora/export 771f929e5e900a5605478adb24d72157 slurm/14-chat-lora-export.sbatch chat-lora/merge chat-lora/prepare-data chat-lora/tokenize chat-lora/train chat-lora/evaluate-questions chat-lora/check-gates
