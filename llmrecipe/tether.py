"""Tie a process to its parent: the kernel kills it when the parent dies, whatever the parent dies of.

Run as a script, `python tether.py PARENT COMMAND...`, it becomes a program that does not do so itself.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

VARIABLE = "LLMRECIPE_PARENT"
"""Process number of the parent that a process expects to have."""


def tie(parent: int | None) -> None:
    """Let the kernel kill this process when its parent dies. Only Linux knows how; elsewhere this does nothing.

    Args:
        parent: the expected parent. When it is another one, the right one died before the kernel was told.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            os._exit(1)


def main(parent: int, command: list[str]) -> None:
    """Replace this process. What the program starts learns its process number, to be tied to it in the same way."""
    tie(parent)
    os.execve(command[0], command, os.environ | {VARIABLE: str(os.getpid())})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
