#!/usr/bin/env bash
# Serves `cluster` with vLLM 0.33.0: an OpenAI-compatible server at http://127.0.0.1:8000/v1.
# The model, its chat template and its generation configuration come from the exported folder.
# LLMRECIPE_ROOT is the recipe's folder; further options of `vllm serve` may follow on the command line.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
default_root=../..
root=${LLMRECIPE_ROOT:-$here/$default_root}
model=$root/.llmrecipe/artifacts/c0f827732cb5db3421dc3d0ed47dbedb/model
if [[ ! -d $model ]]; then
  echo "$0: $model is not there yet: run the recipe first" >&2
  exit 1
fi
exec vllm serve "$model" --config "$here/cluster.yaml" "$@"
