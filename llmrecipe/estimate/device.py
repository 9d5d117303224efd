"""How much memory the declared device has."""

from llmrecipe.facts import accelerators
from llmrecipe.recipe.hardware import Hardware

UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def bytes_of(quantity: str) -> int:
    """What Kubernetes writes as `64Gi`."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def device_bytes(hardware: Hardware) -> float | None:
    """Bytes of one device: as written, or of the preset; None for a processor and for what is no preset."""
    preset = accelerators().get(hardware.accelerator)
    if preset is None or not preset.memory:
        return None
    return bytes_of(hardware.accelerator_memory) if hardware.accelerator_memory else preset.memory * 2**30
