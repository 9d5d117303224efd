"""The volume that holds the recipe's folder: data files, artifacts, exported models."""

from llmrecipe.plan import Plan
from llmrecipe.targets import capacity
from llmrecipe.targets.kubernetes.pod import Node, labels

MOUNTED = "/data"
"""Where the recipe's folder is in every container."""


def volume_claim(plan: Plan) -> Node:
    """One volume for the run and its servers; several nodes share it when several nodes use it."""
    shared = any(stage.resources.nodes > 1 for stage in plan.stages) or any(s.replicas > 1 for s in plan.services)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(plan), "labels": labels(plan, "llmrecipe", plan.name)},
        "spec": {
            "accessModes": ["ReadWriteMany" if shared else "ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{capacity.storage_gib(plan)}Gi"}},
        },
    }


def claim_name(plan: Plan) -> str:
    """Name of the volume's claim."""
    return f"{plan.name}-store"
