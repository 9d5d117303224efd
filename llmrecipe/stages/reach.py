"""Whether the Hub answers: asked once, because its libraries ask again and again for a minute before they give up."""

import errno
import os
import socket
import urllib.error
import urllib.request
from collections.abc import MutableMapping

from llmrecipe.plan import Job

OFFLINE = "HF_HUB_OFFLINE"
ENDPOINT = "https://huggingface.co"
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


def needs_hub(job: Job) -> bool:
    """Whether a job reads a model or a dataset of the Hub."""
    return '"kind":"hub"' in job.spec.model_dump_json()


def rely_on_cache(environment: MutableMapping[str, str], timeout: float = 5.0) -> bool:
    """Tell the Hub's libraries to look into their cache alone when the Hub does not answer; whether that was done.

    It must be done before they are imported.

    Args:
        environment: of this process.
        timeout: seconds to wait for an answer.
    """
    if OFFLINE in environment or _answers(environment.get("HF_ENDPOINT", ENDPOINT), timeout):
        return False
    environment[OFFLINE] = "1"
    return True


def _answers(url: str, timeout: float) -> bool:
    """Whether something answers at a URL; what is wrong with the answer, the libraries tell better."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout):
            return True
    except urllib.error.URLError as error:
        return not _is_silence(error.reason)
    except OSError as error:
        return not _is_silence(error)


def _is_silence(error: object) -> bool:
    if isinstance(error, OSError) and error.errno in UNREACHABLE:
        return True
    return isinstance(error, socket.gaierror | ConnectionError | TimeoutError)


def prepare(job: Job) -> None:
    """Before the libraries of a stage are imported: spare it waiting for a Hub that is not there."""
    if needs_hub(job) and rely_on_cache(os.environ):
        print("the Hub does not answer: only what is in its cache on this machine is used", flush=True)
