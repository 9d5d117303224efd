"""What a recipe takes, from its text and facts alone: parameters, memory, disk, arithmetic, hours, price, serving."""

from llmrecipe.estimate.counting import BYTES, parameters, weight_bytes
from llmrecipe.estimate.device import bytes_of, device_bytes

__all__ = ["BYTES", "bytes_of", "device_bytes", "parameters", "weight_bytes"]
