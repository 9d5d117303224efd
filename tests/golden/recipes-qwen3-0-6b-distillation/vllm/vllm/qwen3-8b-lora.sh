#!/usr/bin/env bash
# Serves `qwen3-8b-lora` with vLLM 0.33.0: an OpenAI-compatible server at http://127.0.0.1:8000/v1.
# The model, its chat template and its generation configuration come from the exported folder.
# LLMRECIPE_ROOT is the recipe's folder; further options of `vllm serve` may follow on the command line.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
default_root=../..
root=${LLMRECIPE_ROOT:-$here/$default_root}
model=$root/.llmrecipe/artifacts/862386c933c4ab0e6f79074501d01655/model
if [[ ! -d $model ]]; then
  echo "$0: $model is not there yet: run the recipe first" >&2
  exit 1
fi
: "${CHAT_API_KEY:?the key that clients must send}"
export VLLM_API_KEY=$CHAT_API_KEY
exec vllm serve "$model" --config "$here/qwen3-8b-lora.yaml" "$@"
