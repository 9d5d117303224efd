"""Named by grpo.yaml; an import never reads it."""
