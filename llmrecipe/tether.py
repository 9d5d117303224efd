"""Become another program that the kernel kills when the parent dies: `python tether.py PARENT COMMAND...`."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process. What the program starts learns its process number, to be tied to it in the same way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # The parent died before the kernel was told.
    os.execve(command[0], command, os.environ | {"LLMRECIPE_PARENT": str(os.getpid())})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
