"""`llmrecipe serve FILE`: the exported model on this machine, behind an OpenAI-compatible server."""

import argparse
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from types import FrameType

from llmrecipe import tether
from llmrecipe.cli.exported import Exported, add_model, exported, refused, require
from llmrecipe.plan import Service
from llmrecipe.serve import Server, listener, request, transformers_server, vllm_server
from llmrecipe.store import RunError
from llmrecipe.targets.base import TargetError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVER_PACKAGES = ("transformers", "torch", "fastapi", "uvicorn", "openai")
GRACE = 10.0
"""Seconds that the server has to end requests when it is told to stop."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, and where it answers."""
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the recipe's, or 8000)")


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; 0 then, and 1 when the server cannot start or dies."""
    try:
        model = exported(arguments)
        port = arguments.port or (model.service.port if model.service else 8000)
        with tempfile.TemporaryDirectory(prefix="llmrecipe-serve-") as scratch:
            name, server = choose(model, (arguments.host, port), Path(scratch))
            _free(arguments.host, port)
            with _stopping() as stopped:
                return _serve(server, model.folder, name, f"http://{_reachable(arguments.host)}:{port}", stopped)
    except RunError as error:
        return refused(error)


def choose(model: Exported, address: tuple[str, int], scratch: Path) -> tuple[str, Server]:
    """vLLM when the recipe wants it and it is here, else Transformers; and the name for requests.

    Raises:
        RunError: packages or the key are missing.
    """
    service = model.service
    vllm = shutil.which("vllm") or shutil.which("vllm", path=str(Path(sys.executable).parent))
    if service is not None and service.engine == "vllm" and vllm is not None:
        return service.served_model_name, _vllm(vllm, model.folder, service, address, scratch)
    for package in SERVER_PACKAGES:
        require(package, "serve")
    if service is not None and service.engine == "vllm":
        if service.api_key and address[0] not in LOOPBACK:
            raise RunError(
                "the recipe asks its clients for a key, and Transformers' server cannot",
                "install vLLM, or stay on this machine with --host 127.0.0.1",
            )
        print("vLLM is not installed here: Transformers serves, without the options of `serving`", file=sys.stderr)
    given = service.arguments if service is not None and service.engine == "transformers" else {}
    name = service.served_model_name if service else model.name
    name = re.sub("[^A-Za-z0-9_.]+", "-", name)  # Transformers takes no other names.
    return name, transformers_server(model.folder, name, address, given, scratch)


def _vllm(executable: str, model: Path, service: Service, address: tuple[str, int], scratch: Path) -> Server:
    host, port = address
    try:
        server = vllm_server(executable, model, service.model_copy(update={"port": port}), host, scratch)
    except TargetError as error:
        raise RunError(error.message, error.help) from None
    key = {"VLLM_API_KEY": _secret(service.api_key)} if service.api_key else {}
    return Server(server.command, key, server.folder)


def _secret(reference: str) -> str:
    """The value of `${env:NAME}`."""
    name = reference.removeprefix("${env:").removesuffix("}")
    if not os.environ.get(name):
        raise RunError(f"the environment variable {name} is not set", "it holds the key that clients send: export it")
    return os.environ[name]


def _free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            who = listener(port)
            holder = f" by {who}" if who else ""
            raise RunError(f"port {port} is in use{holder}", f"stop that, or take another: --port {port + 1}") from None
        reason = error.strerror or str(error)
        raise RunError(f"{host}:{port} cannot be listened on: {reason}", "choose another --host or --port") from None


def _reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]" if ":" in shown else shown


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """A list that gets the number of every signal that asks to stop."""
    numbers: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(server: Server, model: Path, name: str, url: str, stopped: list[int]) -> int:
    """Start the server, say where it is when it answers, and stay until it is told to stop."""
    tied = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()))
    process = subprocess.Popen(
        (*tied, *server.command),
        cwd=server.folder,
        env={**os.environ, **server.environment},
        stdout=2,
        process_group=0,
    )
    told = False
    while process.poll() is None and not stopped:
        if not told and _healthy(url):
            told = True
            print(f"`{name}` answers at {url}/v1  (Ctrl-C stops it)\n{request(model, name, url)}", flush=True)
        time.sleep(0.2)
    if stopped:
        _stop(process, stopped)
        return 0
    raise RunError(f"the server ended with exit code {process.returncode}", "its last lines above say why")


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2):
            return True
    except (urllib.error.URLError, HTTPException, OSError):
        return False


def _stop(process: subprocess.Popen[bytes], stopped: list[int]) -> None:
    """Let the server end its requests; a second signal or the grace time ends it at once."""
    asked, deadline = len(stopped), time.monotonic() + GRACE
    process.send_signal(signal.SIGINT)
    while process.poll() is None and len(stopped) == asked and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
    process.wait()
