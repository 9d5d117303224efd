"""What the Hub says of its repositories: the only module of the compiler that uses the network, when it is asked to."""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    OIDCError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    build_hf_headers,
    get_session,
    get_token,
    hf_raise_for_status,
    logging,
    validate_repo_id,
)

from llmrecipe.lock import RepoKind
from llmrecipe.mending import nearest
from llmrecipe.remote import Answer, Question, Reason, Refusal, Repository, Space

TIMEOUT = 10.0
"""Seconds that a connection, or the next bytes of an answer, may take."""
TRIES = 2
PAUSE = 1.0
"""Seconds between them."""
SMALL = 4 * 2**20
"""Bytes of the largest configuration file that is read."""
NEIGHBOURS = 100
"""Repositories of the same owner, or of a like name, that a misspelt name is compared with."""

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that forbid the network."""

_OTHER: dict[RepoKind, RepoKind] = {"model": "dataset", "dataset": "model"}
_NO_TOKEN = "Invalid credentials in Authorization header"


def commit(kind: RepoKind, repo: str, revision: str | None) -> str:
    """The commit that a revision (the default branch when none is given) points to now.

    Raises:
        ValueError: there is no such repository or revision, or the Hub does not answer.
    """
    at = f"{kind} `{repo}`" + (f" at `{revision}`" if revision else "")
    try:
        found: str | None = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=TIMEOUT).sha
    except OfflineModeIsEnabled:
        raise ValueError(f"{at} cannot be pinned: HF_HUB_OFFLINE is set") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ValueError(f"{at} cannot be pinned: the Hub answers {status}") from None
    except (HTTPError, OSError) as error:
        raise ValueError(f"{at} cannot be pinned: the Hub cannot be reached ({type(error).__name__})") from None
    if found is None:
        raise ValueError(f"{at} cannot be pinned: the Hub names no commit")
    return found


def offline() -> str | None:
    """The variable that forbids the network, where one does."""
    if not constants.is_offline_mode():
        return None
    return next((name for name in OFFLINE if os.environ.get(name)), OFFLINE[0])


def space() -> Space:
    """Where downloads go, and what is free there."""
    folder = Path(constants.HF_HUB_CACHE).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return Space(str(folder), shutil.disk_usage(folder).free)


def ask(question: Question) -> Answer:
    """What the Hub says of a repository: its metadata, and for models the content of three small files.

    Nothing is written into the cache. It takes a bounded number of requests, each with a bounded wait for every part of
    its answer.
    """
    logging.set_verbosity_error()  # It warns of requests without a token, of which there is nothing to say here.
    if (host := _host()) is None:
        return Refusal("silent", "HF_ENDPOINT is no address")
    try:
        validate_repo_id(question.repo)
        return _repository(question)
    except HFValidationError:
        return Refusal("malformed")
    except OIDCError:
        return Refusal("token", with_token=True)
    except HfHubHTTPError as error:
        return _refusal(question, error)
    except (HTTPError, OSError) as error:
        return Refusal("silent", _trouble(error))
    except (ValueError, KeyError, TypeError):
        return Refusal("silent", f"what answers at {host} is no Hub")


def _repository(question: Question) -> Repository:
    """
    Raises:
        HfHubHTTPError: the Hub refuses.
        HTTPError: it cannot be reached.
        ValueError, KeyError, TypeError: its answer is none of a Hub.
    """
    kind, revision = question.kind, question.revision
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    info = _get(f"api/{kind}s/{question.repo}{at}", blobs="true").json()
    name, sha = str(info["id"]), str(info["sha"])
    if info.get("gated"):
        _get(f"api/{kind}s/{name}/auth-check")  # What a gated repository says of itself, it says to everybody.
    files = {str(one["rfilename"]): int(one.get("size") or 0) for one in info.get("siblings") or []}
    cached = {
        file
        for file in files
        if isinstance(try_to_load_from_cache(question.repo, file, revision=sha, repo_type=kind), str)
    }
    card = info.get("cardData")
    names = ("config", "tokenizer_config", "adapter_config") if kind == "model" else ()
    read = {each: _mapping(name, sha, f"{each}.json", files) for each in names}
    return Repository(name, sha, files, frozenset(cached), card=card if isinstance(card, dict) else {}, **read)


def _mapping(repo: str, revision: str, name: str, files: dict[str, int]) -> dict[str, Any] | None:
    """A small JSON file of a model."""
    if files.get(name, SMALL + 1) > SMALL:
        return None
    try:
        found = json.loads(_get(f"{repo}/resolve/{revision}/{name}").content)
    except (RemoteEntryNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _get(path: str, **parameters: str | int) -> Any:
    """A response of the Hub; what may pass is tried again.

    Raises:
        HfHubHTTPError: the Hub refuses, or is in trouble.
        HTTPError: it cannot be reached.
    """
    tries = TRIES
    while True:
        tries -= 1
        try:
            url = f"{HfApi().endpoint}/{path}"
            response = get_session().get(url, headers=build_hf_headers(), params=parameters, timeout=TIMEOUT)
            hf_raise_for_status(response)
            return response
        except HTTPError as error:
            passing = not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
            if not tries or not passing:
                raise
        time.sleep(PAUSE)


def _host() -> str | None:
    """Where the Hub is asked, without what an address may hold of secrets; None when HF_ENDPOINT is no address."""
    with suppress(ValueError):
        parts = urlsplit(str(HfApi().endpoint))
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname + (f":{parts.port}" if parts.port else "")
    return None


# -- what went wrong --


def _refusal(question: Question, error: HfHubHTTPError) -> Refusal:
    status, token = error.response.status_code, _with_token()
    match _reason(error, status):
        case "missing":
            near, other = _near(question), _is_other_kind(question)
            return Refusal("missing", near=near, other_kind=other, with_token=token)
        case "revision":
            return Refusal("revision", near=_near_revision(question), with_token=token)
        case "silent":
            return Refusal("silent", _trouble(error))
        case reason:
            return Refusal(reason, with_token=token)


def _reason(error: HfHubHTTPError, status: int) -> Reason:
    match error:
        case RevisionNotFoundError():
            return "revision"
        case GatedRepoError():
            return "gated"
        case DisabledRepoError():
            return "disabled"
        case _ if status == 401 and error.response.headers.get("X-Error-Message") == _NO_TOKEN:
            return "token"
        case RepositoryNotFoundError():
            return "missing"
    return {401: "missing", 403: "forbidden", 404: "missing"}.get(status, "silent")  # type: ignore[return-value]


def _trouble(error: Exception) -> str:
    """What is told of an error: never its text, which may quote what was sent."""
    if isinstance(error, HfHubHTTPError):
        status, wait = error.response.status_code, error.response.headers.get("Retry-After", "")
        if status == 429:
            return "it has had too many requests" + (f", and asks to wait {wait} seconds" if wait.isdigit() else "")
        return f"{_host()} answers {status}"
    if type(error).__name__.endswith("Timeout"):
        return f"{_host()} is silent for {TIMEOUT:.0f} seconds"
    return f"{_host()} cannot be reached: {type(error).__name__}"


def _with_token() -> bool:
    return not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and get_token() is not None


# -- what was meant --


def _near(question: Question) -> str | None:
    """A repository of the same owner, or of a like name, that is called almost so."""
    owner, _, name = question.repo.rpartition("/")
    for sought in ({"author": owner}, {"search": name}):
        if all(sought.values()):
            with suppress(HTTPError, OSError, ValueError, KeyError, TypeError):
                listed = _get(f"api/{question.kind}s", limit=NEIGHBOURS, sort="downloads", **sought).json()
                near, _ = nearest(question.repo, {str(one["id"]) for one in listed} - {question.repo}, 0.8)
                if near is not None:
                    return near
    return None


def _is_other_kind(question: Question) -> bool:
    with suppress(HTTPError, OSError, ValueError):
        _get(f"api/{_OTHER[question.kind]}s/{question.repo}")
        return True
    return False


def _near_revision(question: Question) -> str | None:
    """A branch or tag that is called almost so, or a commit that begins so."""
    asked = question.revision or ""
    with suppress(HTTPError, OSError, ValueError, KeyError, TypeError):
        refs = _get(f"api/{question.kind}s/{question.repo}/refs").json()
        found = {str(one["name"]): str(one["targetCommit"]) for part in ("branches", "tags") for one in refs[part]}
        begun = [commit for commit in found.values() if len(asked) >= 7 and commit.startswith(asked)]
        return begun[0] if begun else nearest(asked, found, 0.5)[0]
    return None
