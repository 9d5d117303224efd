"""What a recipe takes, from its text and facts alone: parameters, memory, disk, arithmetic, hours, price, serving."""

from llmrecipe.estimate.counting import BYTES, parameters, weight_bytes

__all__ = ["BYTES", "parameters", "weight_bytes"]
