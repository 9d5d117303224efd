"""What all pods have in common: labels, security, scratch folders, devices."""

import hashlib
from typing import Any

from llmrecipe import facts
from llmrecipe.plan import Plan, Resources
from llmrecipe.targets import capacity

Node = dict[str, Any]

USER = 1000
"""User and group of every process; the volume is given to that group."""
CACHE = "/cache"
"""A folder of the pod that may be written to, beside /tmp: the root file system may not."""
CACHE_GIB = 20
"""Most that kernels compiled on the fly and downloaded models take of a node's disk."""
CPUS_PER_PROCESS = 2
"""Cores asked for beside each device: one that drives it, one that prepares its data. Idle ones may be used too."""


def labels(plan: Plan, name: str, instance: str) -> dict[str, str]:
    """Labels as https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/ names them."""
    return selector(name, instance) | {
        "app.kubernetes.io/part-of": plan.name,
        "app.kubernetes.io/managed-by": "llmrecipe",
    }


def selector(name: str, instance: str) -> dict[str, str]:
    """The labels that never change, by which pods are found."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": instance}


def pod_security() -> Node:
    """Nobody's user, no token of the cluster, the runtime's own filter of system calls."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Node:
    """No privilege at all, and nothing of the image can be changed."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }


def scratch_environment(downloads: str = f"{CACHE}/huggingface") -> list[Node]:
    """Variables that lead libraries to folders which may be written to; the user has no entry in /etc/passwd."""
    values = {
        "HOME": CACHE,
        "USER": "llmrecipe",
        "XDG_CACHE_HOME": f"{CACHE}/xdg",
        "HF_HOME": downloads,
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def scratch_volumes(resources: Resources) -> list[Node]:
    """/tmp, the cache, and shared memory for the processes of one container."""
    memory = f"{capacity.shared_memory_gib(max(resources.accelerators, resources.processes))}Gi"
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}},
        {"name": "cache", "emptyDir": {"sizeLimit": f"{CACHE_GIB}Gi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": memory}},
    ]


def scratch_mounts() -> list[Node]:
    """Where `scratch_volumes` are."""
    return [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "cache", "mountPath": CACHE},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]


def container_resources(resources: Resources, memory: str | None) -> Node:
    """Requests and limits of one container: memory and devices are limited, processors only asked for."""
    devices = {_device(resources): str(resources.accelerators)} if resources.accelerators else {}
    bounded = ({"memory": memory} if memory else {}) | devices
    cpus = str(CPUS_PER_PROCESS * max(resources.accelerators, resources.processes))
    return {"requests": {"cpu": cpus} | bounded} | ({"limits": bounded} if bounded else {})


def placement(resources: Resources) -> Node:
    """Where a pod wants to run: nodes are labelled with their product where NVIDIA's feature discovery is installed."""
    if not resources.accelerators:
        return {}
    found: Node = {"tolerations": [{"key": _device(resources), "operator": "Exists", "effect": "NoSchedule"}]}
    preset = facts.accelerators().get(resources.accelerator)
    if preset and preset.products:
        wanted = {"key": "nvidia.com/gpu.product", "operator": "In", "values": list(preset.products)}
        preference = {"weight": 100, "preference": {"matchExpressions": [wanted]}}
        found["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    return found


def _device(resources: Resources) -> str:
    preset = facts.accelerators().get(resources.accelerator)
    return (preset.resource if preset else None) or "nvidia.com/gpu"


def digest(*texts: str) -> str:
    """Ten characters that change with the texts: part of the name of what must not change under a running pod."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:10]


def service_account(plan: Plan, name: str, instance: str) -> Node:
    """An identity of its own that the cluster's API gives nothing to."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": instance, "labels": labels(plan, name, instance)},
        "automountServiceAccountToken": False,
    }
