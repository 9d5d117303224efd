"""A model folder and how it is to be served -> the command of a server on this machine."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from llmrecipe.plan import Service
from llmrecipe.targets.vllm import config_text

COMMIT = "0" * 40
"""Stands for the commit of a model that was never on the Hub."""


@dataclass(frozen=True)
class Server:
    """A process to start."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Beside the variables that are there already."""
    folder: Path
    """Where it works."""


def transformers_server(
    model: Path, name: str, address: tuple[str, int], arguments: Mapping[str, JsonValue], scratch: Path
) -> Server:
    """Transformers' own server. The model is called `name`, in requests and in its list of models.

    That server knows models by the name under which they are loaded, and lists what the Hub's cache holds. So it gets
    a cache of its own in `scratch`, in which the folder stands as a model of that name.
    """
    repository = scratch / f"models--{name}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT, encoding="ascii")
    for path in model.iterdir():
        (snapshot / path.name).symlink_to(path.resolve())
    host, port = address
    command = (sys.executable, "-m", "transformers.cli.transformers", "serve", name)
    return Server(
        (*command, "--host", host, "--port", str(port), "--device", "auto", *options(arguments)),
        {"HF_HUB_CACHE": str(scratch), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"},
        scratch,
    )


def vllm_server(executable: str, model: Path, service: Service, host: str, scratch: Path) -> Server:
    """vLLM's server, with the options of the recipe in a file in `scratch`.

    A key for its clients goes by the environment variable VLLM_API_KEY, never by the command line.

    Raises:
        TargetError: an option is not one of `vllm serve`.
    """
    file = scratch / f"{service.name}.yaml"
    file.write_text(config_text(service, host), encoding="utf-8")
    return Server((executable, "serve", str(model.resolve()), "--config", str(file)), {}, Path.cwd())


def options(arguments: Mapping[str, JsonValue]) -> Iterator[str]:
    """Options of Transformers' server: `{"model_timeout": 64, "compile": true}` -> `--model-timeout 64 --compile`."""
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        match value:
            case bool():
                yield f"--{flag}" if value else f"--no-{flag}"
            case _:
                yield from (f"--{flag}", str(value))


def has_chat_template(model: Path) -> bool:
    """Whether the model can be sent messages."""
    if (model / "chat_template.jinja").is_file():
        return True
    configuration = model / "tokenizer_config.json"
    return configuration.is_file() and "chat_template" in json.loads(configuration.read_bytes())


def request(model: Path, name: str, url: str) -> str:
    """A command that asks the server something."""
    path, content = (
        ("chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]})
        if has_chat_template(model)
        else ("completions", {"prompt": "Once", "max_tokens": 32})
    )
    body = json.dumps({"model": name, **content})
    return f"curl {url}/v1/{path} -H 'Content-Type: application/json' -d '{body}'"


def listener(port: int) -> str | None:
    """The process that listens on a TCP port of this machine: `python (process 4711)`; nothing when it is not ours.

    Source: proc(5), /proc/net/tcp
    """
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text(encoding="ascii").splitlines()[1:] if table.is_file() else []
        fields = (row.split() for row in rows)
        inodes |= {f"socket:[{f[9]}]" for f in fields if f[3] == "0A" and int(f[1].rpartition(":")[2], 16) == port}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(file.readlink()) in inodes for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text(encoding='utf-8').strip()} (process {process.name})"
        except OSError:
            continue  # It has ended, or belongs to somebody else.
    return None
