"""A Hub on this machine: the endpoints, statuses and headers that `huggingface_hub` lives on, over a few repositories.

`test_hub.py` asks it through the real client first, so that it stays what that client understands.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

MEMBER, STRANGER = "hf_member", "hf_stranger"
"""Tokens: of an account that may read everything, and of one that was let in nowhere."""

File = dict[str, Any] | int
"""JSON, or the bytes of a file whose content nobody asks for."""


@dataclass(frozen=True)
class Published:
    """A repository."""

    files: Mapping[str, File] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    disabled: bool = False
    tags: tuple[str, ...] = ()

    def commit(self, revision: str) -> str:
        return sha1(f"{sorted(self.files)} {revision}".encode()).hexdigest()

    def refs(self) -> dict[str, str]:
        return {name: self.commit("main" if name == "main" else name) for name in ("main", *self.tags)}

    def resolved(self, revision: str) -> str | None:
        refs = self.refs()
        return refs.get(revision) or (revision if revision in refs.values() else None)


World = dict[tuple[str, str], Published | str]
"""(`models` or `datasets`, name) -> a repository, or the name that it has now."""


class StandIn(ThreadingHTTPServer):
    """The server, what it holds and what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, world: World) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.world = world
        self.asked: list[str] = []
        self.trouble: int | str | None = None
        """A status that every answer has; or `garbage`, `slow` or `drops`."""
        self.troubles = 10**9
        """How many answers are in trouble, before all is well."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        """Let the client of this process ask here, without a token and with an empty cache."""
        allow_asking(patch)
        patch.setattr("huggingface_hub.constants.ENDPOINT", self.url)
        patch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            self.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "token"))
        patch.setattr("llmrecipe.hub.PAUSE", 0.0)
        patch.delenv("HF_TOKEN", raising=False)


def allow_asking(patch: pytest.MonkeyPatch) -> None:
    """Lift what the environment of the tests may say of the network: none of them leaves this machine."""
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        patch.delenv(name, raising=False)


@contextmanager
def stand_in(world: World) -> Iterator[StandIn]:
    """A running server."""
    with StandIn(world) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(f"{self.command} {parts.path}")
        if self.server.trouble is not None and self.server.troubles > 0:
            self.server.troubles -= 1
            return self._trouble(self.server.trouble)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        if self._token() not in (None, MEMBER, STRANGER):
            return self._refuse(401, None, "Invalid credentials in Authorization header")
        if words == ["api", "agent-harnesses"]:  # A question of the client's own, for its statistics.
            return self._refuse(404, None, "not here")
        if words[0] == "api" and len(words) == 2:
            return self._listing(words[1], {name: value[0] for name, value in parse_qs(parts.query).items()})
        if words[0] == "api":
            return self._api(words[1], words[2:])
        kind = words.pop(0) if words[0] == "datasets" else "models"
        return self._resolve(kind, words)

    def _trouble(self, trouble: int | str) -> None:
        match trouble:
            case "slow":
                time.sleep(2)
                self.close_connection = True
            case "drops":
                self.close_connection = True
            case "garbage":
                self._send(200, b"<html>Please log in to this network</html>", {"Content-Type": "text/html"})
            case int():
                self._refuse(trouble, None, "trouble", {"Retry-After": "30"} if trouble == 429 else {})

    def _token(self) -> str | None:
        given = self.headers.get("Authorization")
        return given.removeprefix("Bearer ") if given else None

    def _listing(self, kind: str, asked: dict[str, str]) -> None:
        found = [
            name
            for (each, name), one in self.server.world.items()
            if each == kind
            and isinstance(one, Published)
            and not one.private
            and name.startswith(f"{asked.get('author', name.partition('/')[0])}/")
            and asked.get("search", "").lower() in name.lower()
        ]
        self._json([{"id": name} for name in found][: int(asked["limit"])])

    def _found(self, kind: str, words: list[str]) -> tuple[str, Published, list[str]] | None:
        """The repository that a path begins with, and the rest; None when the answer is sent already."""
        for count in (2, 1):
            name = "/".join(words[:count])
            one = self.server.world.get((kind, name))
            if isinstance(one, str):
                self._send(307, b"", {"Location": self.path.replace(name, one, 1)})
                return None
            if one is not None and not (one.private and self._token() != MEMBER):
                if one.disabled:
                    self._refuse(403, None, "Access to this resource is disabled.")
                    return None
                return name, one, words[count:]
        if self._token() is None:  # The Hub says to strangers of what is missing what it says of what is private.
            self._refuse(401, None, "Invalid username or password.")
        else:
            self._refuse(404, "RepoNotFound", "Repository not found")
        return None

    def _api(self, kind: str, words: list[str]) -> None:
        if (found := self._found(kind, words)) is None:
            return None
        name, one, rest = found
        match rest:
            case ["auth-check"]:
                if self._is_let_in(one, name):
                    self._json({})
            case ["refs"]:
                refs = [
                    {"name": ref, "ref": f"refs/{ref}", "targetCommit": commit} for ref, commit in one.refs().items()
                ]
                self._json({"branches": refs[:1], "tags": refs[1:], "converts": []})
            case [] | ["revision", _]:
                commit = one.resolved(rest[1] if rest else "main")
                if commit is None:
                    return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
                self._json(_info(name, one, commit))
        return None

    def _resolve(self, kind: str, words: list[str]) -> None:
        if (found := self._found(kind, words)) is None:
            return
        name, one, (_, revision, *path) = found
        commit, file = one.resolved(revision), one.files.get("/".join(path))
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif file is None:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        elif self._is_let_in(one, name):
            text = _text(file)
            self._send(200, text, {"ETag": f'"{sha1(text).hexdigest()}"', "X-Repo-Commit": commit})

    def _is_let_in(self, one: Published, name: str) -> bool:
        if not one.gated or self._token() == MEMBER:
            return True
        told = f"Access to model {name} is restricted"
        self._refuse(401 if self._token() is None else 403, "GatedRepo", told)
        return False

    def _refuse(self, status: int, code: str | None, message: str, more: dict[str, str] | None = None) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(more or {})}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _text(file: File) -> bytes:
    return json.dumps(file).encode() if isinstance(file, dict) else b"\0" * min(file, 100)


def _info(name: str, one: Published, commit: str) -> dict[str, Any]:
    sizes = {path: file if isinstance(file, int) else len(_text(file)) for path, file in one.files.items()}
    siblings = [
        {"rfilename": path, "size": size, "blobId": sha1(path.encode()).hexdigest()} for path, size in sizes.items()
    ]
    return {
        "id": name,
        "sha": commit,
        "private": one.private,
        "gated": "manual" if one.gated else False,
        "siblings": siblings,
        "cardData": one.card,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "tags": [],
        "downloads": 1,
    }


# -- what it holds --

QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "max_position_embeddings": 40960,
    "dtype": "bfloat16",
    "tie_word_embeddings": True,
}
CHAT: dict[str, Any] = {"chat_template": "{{ messages }}", "tokenizer_class": "Qwen2Tokenizer"}
PLAIN: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
WEIGHTS = {"model.safetensors": 1_500_000_000}


def model(
    config: dict[str, Any] | None = None,
    weights: Mapping[str, File] | None = None,
    tokenizer: dict[str, Any] | None = None,
    **more: Any,
) -> Published:
    """A model of Transformers; as it is given, a small Qwen3 with a chat template."""
    files: dict[str, File] = {"config.json": QWEN3 if config is None else config}
    files |= {"tokenizer_config.json": CHAT if tokenizer is None else tokenizer, "tokenizer.json": 11_000_000}
    return Published(files | dict(WEIGHTS if weights is None else weights), **more)


def columns(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "dtype": "string"} for name in names]


def split_files(*splits: str) -> list[dict[str, str]]:
    return [{"split": split, "path": f"data/{split}-*"} for split in splits]


GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_positions": 1024}
REWARD = {"architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3", "tie_word_embeddings": False}
T5 = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}
OWN = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
LORA = {"base_model_name_or_path": "Qwen/Qwen3-0.6B", "peft_type": "LORA"}
ROWS = {"data/train-00000.parquet": 50_000_000, "README.md": 100}

WORLD: World = {
    ("models", "Qwen/Qwen3-0.6B"): model(tags=("v1.0",)),
    ("models", "Qwen/Qwen3-0.6B-Base"): model(tokenizer=PLAIN),
    ("models", "Qwen/Qwen3-235B-A22B"): model(
        {**QWEN3, "model_type": "qwen3_moe"},
        {f"model-{i:05}-of-00118.safetensors": 4_000_000_000 for i in range(118)}
        | {"model.safetensors.index.json": 100_000},
    ),
    ("models", "meta-llama/Llama-3.2-1B-Instruct"): model({**QWEN3, "model_type": "llama"}, gated=True),
    ("models", "gpt2"): "openai-community/gpt2",
    ("models", "openai-community/gpt2"): model(GPT2, tokenizer=PLAIN),
    ("models", "google-t5/t5-small"): model(T5),
    ("models", "house/private"): model(private=True),
    ("models", "house/closed"): model(disabled=True),
    ("models", "house/style-lora"): Published({"adapter_config.json": LORA, "adapter_model.safetensors": 9_000_000}),
    ("models", "house/Qwen3-GGUF"): Published({"qwen3-q8_0.gguf": 10**9}, {"base_model": ["Qwen/Qwen3-0.6B"]}),
    ("models", "house/original-weights"): Published({"params.json": {}, "consolidated.safetensors": 10**9}),
    ("models", "house/named-weights"): model({**QWEN3, "transformers_weights": "w.safetensors"}, {"w.safetensors": 9}),
    ("models", "house/pickled"): model(weights={"pytorch_model.bin": 10**9}),
    ("models", "house/own-architecture"): model(OWN, tags=("v1.0",)),
    ("models", "house/rounded"): model({**QWEN3, "quantization_config": {"quant_method": "gptq", "bits": 4}}),
    ("models", "house/judge"): model(REWARD),
    ("datasets", "openai/gsm8k"): Published(
        ROWS,
        {
            "configs": [
                {"config_name": name, "data_files": split_files("train", "test")} for name in ("main", "socratic")
            ],
            "dataset_info": [
                {
                    "config_name": name,
                    "features": columns("question", "answer"),
                    "splits": [{"name": "train"}, {"name": "test"}],
                    "download_size": 2_000_000,
                    "dataset_size": 4_000_000,
                }
                for name in ("main", "socratic")
            ],
        },
    ),
    ("datasets", "HuggingFaceH4/ultrachat_200k"): Published(
        ROWS,
        {
            "configs": [{"config_name": "default", "data_files": split_files("train_sft", "test_sft", "train_gen")}],
            "dataset_info": {"features": columns("prompt", "prompt_id", "messages")},
        },
    ),
    ("datasets", "house/silent-card"): Published(ROWS),
    ("datasets", "house/script"): Published({"script.py": 2000, "README.md": 100}),
    ("datasets", "house/gated-rows"): Published(ROWS, gated=True),
}
