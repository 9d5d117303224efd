"""`python -m llmrecipe` and `accelerate launch -m llmrecipe`."""

import sys

from llmrecipe.cli import main

if __name__ == "__main__":
    sys.exit(main())
