"""What the ranks of a launcher around `llmrecipe run` tell each other, in the store that the launcher keeps."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore

CONNECT = timedelta(minutes=5)


class Board:
    """Texts by name, which every rank can write and read."""

    def __init__(self) -> None:
        """Connect to the store of the launcher.

        Raises:
            OSError: nobody answers.
        """
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        with _answered():
            store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=CONNECT)
        self._store = PrefixStore(f"llmrecipe/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)

    def post(self, name: str, text: str) -> None:
        """Write a text.

        Raises:
            OSError: the store is gone.
        """
        with _answered():
            self._store.set(name, text)

    def read(self, name: str) -> str | None:
        """The text of that name; null when nobody has written it yet. Never waits for it.

        Raises:
            OSError: the store is gone.
        """
        with _answered():
            return self._store.get(name).decode() if self._store.check([name]) else None


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"the launcher that keeps the ranks together is gone: {error}") from None
