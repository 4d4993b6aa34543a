"""Voices on the Hugging Face Hub: two files are fetched, `config.json` and `model.safetensors`, and never a pickle.

`flowvocoder.checkpoint` then looks at their hashes and limits, as with every checkpoint. What was fetched stays in the
library's cache, where it is found without a network.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowvocoder.errors import CheckpointError, OutputError
from flowvocoder.extras import library
from flowvocoder.files import MOST_JSON, reason

PREFIX = "hf:"
"""Begins a voice's name on the hub, wherever a checkpoint is asked for: `hf:user/repo` or `hf:user/repo@revision`."""

LARGEST = 8 * 2**30
"""Bytes of weights that are fetched."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_HASH = re.compile(r"[\w-]{1,200}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,200}")


def is_on_hub(path: str | Path) -> bool:
    """Whether a checkpoint's name begins as one on the hub."""
    return str(path).startswith(PREFIX)


def hub_name(name: str | Path | None, revision: str | None = None) -> str | Path | None:
    """The name with its prefix, if it is one of the hub: it says so, has a revision, or no folder here begins so.

    Raises:
        CheckpointError: a revision of what is not on the hub.

    >>> hub_name("somebody/voice", "v1")
    'hf:somebody/voice@v1'
    """
    bare = isinstance(name, str) and _REPO.fullmatch(name) and not Path(name).exists()
    if name is not None and is_on_hub(name):
        return name if revision is None else f"{name}@{revision}"
    if bare and (revision is not None or not Path(str(name).partition("/")[0]).exists()):
        return f"{PREFIX}{name}" if revision is None else f"{PREFIX}{name}@{revision}"
    if revision is not None:
        raise CheckpointError(f"{name}: a revision is of a voice on the hub, named user/repo")
    return name


def fetched(path: str | Path, files: Sequence[str]) -> Path:
    """The folder of a voice of the hub, in the cache, with `files` in it: JSON and weights.

    Raises:
        CheckpointError: the name is none, there is no such repository, revision or file, it is too large, or the hub
            cannot be reached and the cache does not have it.
        ConfigError: huggingface_hub is not installed.
    """
    repo, _, revision = str(path).removeprefix(PREFIX).partition("@")
    if not _REPO.fullmatch(repo) or (revision and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise CheckpointError(f"{path}: a voice on the hub is named {PREFIX}user/repo or {PREFIX}user/repo@revision")
    hub, commit, folder = library("huggingface_hub", "hub"), revision or None, None
    with _said(path, CheckpointError):
        for name in files:
            _check(hub, repo, name, commit)
            folder = Path(hub.hf_hub_download(repo, name, revision=commit, library_name="flowvocoder")).parent
            commit = folder.name  # all files are of one commit, also where the branch moves on
    assert folder is not None
    return folder


def push(repo: str, files: dict[str, Path | bytes], token: str | None, private: bool | None, message: str) -> str:
    """Write files to a repository, which is made if there is none; returns the address of the commit.

    Raises:
        OutputError: the name is none, or the hub refuses.
        ConfigError: huggingface_hub is not installed.
    """
    repo = repo.removeprefix(PREFIX)
    if not _REPO.fullmatch(repo):
        raise OutputError(f"{repo}: a repository on the hub is named user/repo")
    hub = library("huggingface_hub", "hub")
    with _said(repo, OutputError):
        api = hub.HfApi(token=token, library_name="flowvocoder")
        api.create_repo(repo, private=private, exist_ok=True)
        made = [hub.CommitOperationAdd(name, file) for name, file in files.items()]
        return str(api.create_commit(repo, made, commit_message=message).commit_url)


def _check(hub: Any, repo: str, name: str, revision: str | None) -> None:
    """Raises CheckpointError before anything large is fetched, or is laid where its hash says."""
    most = MOST_JSON if name.endswith(".json") else LARGEST
    try:
        about = hub.get_hf_file_metadata(hub.hf_hub_url(repo, name, revision=revision))
    except Exception:  # the fetching itself says what is wrong
        return
    if about.size is not None and about.size > most:
        raise CheckpointError(f"{PREFIX}{repo}: {name} has {about.size} bytes, {most} are fetched at most")
    if not all(said is None or _HASH.fullmatch(said) for said in (about.etag, about.commit_hash)):
        raise CheckpointError(f"{PREFIX}{repo}: what the hub says of {name} is no hash")


@contextlib.contextmanager
def _said(name: str | Path, kind: type[CheckpointError] | type[OutputError]) -> Iterator[None]:
    """What the library raises, in one sentence."""
    errors = library("huggingface_hub.errors", "hub")
    try:
        yield
    except (CheckpointError, OutputError):
        raise
    except Exception as error:
        said = "cannot be reached" if isinstance(error, OSError) else "is not as it should be"
        for one, words in (
            (errors.GatedRepoError, "wants you to agree to its terms, with a token, first"),
            (errors.RepositoryNotFoundError, "there is no such repository, or it is private"),
            (errors.RevisionNotFoundError, "there is no such revision"),
            (errors.LocalEntryNotFoundError, "cannot be reached, and is not in the cache"),
            (errors.EntryNotFoundError, "holds no voice: config.json and model.safetensors are not both there"),
            (errors.OfflineModeIsEnabled, "is not in the cache, and HF_HUB_OFFLINE is set"),
        ):
            if isinstance(error, one):
                raise kind(f"{name}: {words}") from error
        said = "refuses" if isinstance(error, errors.HfHubHTTPError) else said
        raise kind(f"{name}: the hub {said} ({reason(error)[:120]})") from error
