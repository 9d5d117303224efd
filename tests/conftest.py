"""What several tests begin with: a folder with files in it, understood."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmrecipe.document import Document
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

# A shell that starts the tests in the background has them ignore Ctrl-C, and what tests start would inherit that.
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests find out stays out of the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMRECIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text file into the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def read(write: Callable[[str, str], Path]) -> Callable[..., list[Document]]:
    """Writes a recipe and returns its documents."""

    def read(text: str, *overrides: str) -> list[Document]:
        return validate(resolve(str(write("recipe.yaml", text)), overrides))

    return read
