"""How long a server may take to start and to stop, and how much room a run needs: from the size of the weights."""

import math

from llmrecipe.plan import Plan, PrepareData, Service

LOAD_BYTES_PER_SECOND = 200_000_000
"""What a slow network disk gives. A local one is ten times faster, but a probe must not kill a server that loads."""
START_SECONDS = 300
"""Imports, compilation and graph capture, beside the loading of weights."""
ASSUMED_WEIGHT_BYTES = 150_000_000_000
"""When nothing offline says the size of the weights: 70 billion parameters of two bytes, and some."""

DRAIN_SECONDS = 120
"""How long answers that have begun may take to end when a server is asked to stop."""
LEAVE_SECONDS = 15
"""How long load balancers take to notice that a server is leaving, before it refuses requests."""
STOP_MARGIN_SECONDS = 15
"""Between the last answer and the end of the process."""

SHARED_MEMORY_GIB = 2
"""Shared memory per device: processes of one server or run exchange tensors in it. Containers start with 64 MiB."""
HOST_MEMORY_GIB = 8
"""Host memory of a server beside its weights, which pass through it while they are loaded."""

STORED_COPIES = 24
"""Exported weights, times this, is what a run stores at most: three checkpoints (two are kept, one is being written) of
weights and two moments in float32 are 18 times weights in bfloat16; the trained, the merged and the exported model are
up to 6."""
STORED_DATA = 4
"""Data files, times this: themselves, rows, token ids, and room."""
LEAST_STORAGE_GIB = 20
ASSUMED_STORAGE_GIB = 200
"""When nothing offline says the size of the weights."""

GIB = 1024**3


def start_seconds(service: Service) -> int:
    """The longest time that a server may take until it answers."""
    weights = ASSUMED_WEIGHT_BYTES if service.weight_bytes is None else service.weight_bytes
    return START_SECONDS + math.ceil(weights / LOAD_BYTES_PER_SECOND)


def stop_seconds(drain: int) -> int:
    """The longest time between the wish that a server ends and its end, when requests may take `drain` seconds."""
    return LEAVE_SECONDS + drain + STOP_MARGIN_SECONDS


def shared_memory_gib(devices: int) -> int:
    """Size of `/dev/shm` of one container."""
    return SHARED_MEMORY_GIB * max(1, devices)


def host_memory(service: Service) -> str | None:
    """Memory of one server as Kubernetes writes it: declared, or by its weights; nothing when neither is known."""
    if service.resources.memory is not None:
        return service.resources.memory
    if service.weight_bytes is None:
        return None
    return f"{HOST_MEMORY_GIB + math.ceil(service.weight_bytes / GIB)}Gi"


def storage_gib(plan: Plan) -> int:
    """Room for everything that a run leaves, its data files included."""
    sizes = [service.weight_bytes for service in plan.services]
    known = [size for size in sizes if size is not None]
    if not known:
        return ASSUMED_STORAGE_GIB
    needed = STORED_COPIES * sum(known) + STORED_DATA * _data_bytes(plan)
    return max(LEAST_STORAGE_GIB, math.ceil(needed / GIB))


def _data_bytes(plan: Plan) -> int:
    origins = [
        source.origin
        for stage in plan.stages
        if isinstance(stage.spec, PrepareData)
        for source in (*stage.spec.train, *stage.spec.validation)
    ]
    return sum(file.size for origin in origins if origin.kind == "files" for file in origin.files)
