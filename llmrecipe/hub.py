"""Commits of Hub repositories: the only module of the compiler that uses the network, and only when asked to."""

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from llmrecipe.lock import RepoKind


def commit(kind: RepoKind, repo: str, revision: str | None) -> str:
    """The commit that a revision (the default branch when none is given) points to now.

    Raises:
        ValueError: there is no such repository or revision, or the Hub does not answer.
    """
    at = f"{kind} `{repo}`" + (f" at `{revision}`" if revision else "")
    try:
        found: str | None = HfApi().repo_info(repo, repo_type=kind, revision=revision).sha
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
