"""Questions of rules to the file system: they go through here alone, so that it is known what a verdict depends on."""

from llmrecipe.looking import files, head, is_empty, is_file, is_folder, neighbours, size, text

__all__ = ["files", "head", "is_empty", "is_file", "is_folder", "neighbours", "size", "text"]
