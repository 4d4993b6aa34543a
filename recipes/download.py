"""Downloads that resume where they broke off and are checked against a checksum."""

import hashlib
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flowvocoder.errors import DataError, OutputError
from flowvocoder.files import reason, writing
from flowvocoder.progress import progress_bytes

CHUNK = 1 << 20
TIMEOUT = 60.0
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds to wait before trying again; after the last without a byte of progress it gives up."""

PASSING = (429, 500, 502, 503, 504)
"""HTTP answers worth another attempt."""


BROKEN = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)
"""What a broken connection raises. Most are OSErrors, as is a full disk: so not just any OSError."""


def download(url: str, target: Path, checksum: str | None) -> str:
    """Fetch `url` to `target`, resuming from what an earlier call left in `target`.part.

    `target`.sha256 is written beside it, in the form of `sha256sum`. Where one is there already, from an earlier
    download, and no checksum is published, the bytes must be the same again.

    Args:
        checksum: `sha256:...` or `md5:...`; None: nobody publishes one.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: the server refuses, breaks off again and again, or sends other bytes than the checksum's.
            What came is kept for the next attempt, unless its bytes are wrong.
        OutputError: the file cannot be written, or the disk has no room for it.
    """
    partial = target.with_name(target.name + ".part")
    expected = checksum or recorded(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = partial.exists()
        _fetch(url, partial)
        try:
            found = verify(partial, expected, discard=True)
        except DataError:
            if not resumed:
                raise
            # What was there may have been the beginning of another file: a whole one gets its chance.
            _fetch(url, partial)
            found = verify(partial, expected, discard=True)
        partial.replace(target)
        _tag(partial).unlink(missing_ok=True)
        record(target, found)
    except DataError as error:
        raise DataError(f"{url}: {error}") from error
    except OSError as error:
        raise OutputError(f"{partial}: cannot be written ({reason(error)}); run again to continue from here") from error
    return found


def verify(path: Path, checksum: str | None, discard: bool = False) -> str:
    """The SHA-256 of a file, checked against `sha256:...` or `md5:...`.

    Raises:
        DataError: it differs, with both; `discard` deletes the file then.
    """
    kind, _, expected = (checksum or "sha256:").partition(":")
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", kind}}
    with path.open("rb") as file, progress_bytes(f"checking {path.name}", path.stat().st_size) as advance:
        while chunk := file.read(CHUNK):
            for one in hashes.values():
                one.update(chunk)
            advance(len(chunk))
    if expected and hashes[kind].hexdigest() != expected:
        if discard:
            path.unlink()
        raise DataError(f"wrong bytes: their {kind} is {hashes[kind].hexdigest()}, expected {expected}")
    return hashes["sha256"].hexdigest()


def record(target: Path, sha256: str) -> None:
    """Write `target`.sha256: this file was checked. `sha256sum -c` reads it."""
    with writing(target.with_name(target.name + ".sha256")) as temporary:
        temporary.write_text(f"{sha256}  {target.name}\n", encoding="utf-8")


def recorded(target: Path) -> str | None:
    """The checksum that `record` wrote, as `sha256:...`."""
    try:
        found = target.with_name(target.name + ".sha256").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return f"sha256:{found[0]}" if found else None


def _fetch(url: str, partial: Path) -> None:
    """Until the whole file is there, or nothing comes any more."""
    pauses = iter(PAUSES)
    while True:
        before = _size(partial)
        try:
            return _go_on(url, partial)
        except urllib.error.HTTPError as error:
            trouble = f"the server answers {error.code} {error.reason}"
            if error.code not in PASSING:
                raise DataError(trouble) from error
        except BROKEN as error:
            trouble = f"the connection broke off ({reason(getattr(error, 'reason', None) or error)})"
        except ValueError as error:
            raise DataError(f"not a URL that can be downloaded ({error})") from error
        if _size(partial) > before:
            pauses = iter(PAUSES)
        pause = next(pauses, None)
        if pause is None:
            raise DataError(f"{trouble}; {_size(partial)} bytes are kept in {partial}, run again to continue")
        time.sleep(pause)


def _go_on(url: str, partial: Path) -> None:
    """One attempt: ask for what is missing and append it."""
    response = _ask(url, partial)
    if response is None:
        return
    with response:
        have = _size(partial)
        content_range = response.headers.get("Content-Range", "")
        goes_on = response.status == 206 and content_range.startswith(f"bytes {have}-")
        if not goes_on:
            have = 0
            _remember(partial, response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_room(partial, total, have)
        with partial.open("ab" if goes_on else "wb") as file, progress_bytes(partial.stem, total, have) as advance:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                advance(len(chunk))
    if total is not None and _size(partial) != total:
        raise ConnectionError(f"after {_size(partial)} of {total} bytes")


def _ask(url: str, partial: Path) -> Any:
    """The server's answer to the request for what is missing; None where nothing is."""
    have, tag = _size(partial), _tag(partial)
    headers = {"User-Agent": "flowvocoder-recipes"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text(encoding="latin-1")
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return None
    partial.unlink()  # longer than the file: it was another one's
    return _ask(url, partial)


def _remember(partial: Path, validator: str) -> None:
    """Keep the server's name for this version of the file; a weak one does not promise the same bytes."""
    _tag(partial).unlink(missing_ok=True)
    if validator and not validator.startswith("W/"):
        _tag(partial).write_text(validator, encoding="latin-1")


def _check_room(partial: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if total is not None and total - have > free:
        missing, left = (tqdm.format_sizeof(size, "B") for size in (total - have, free))
        raise OutputError(f"{partial}: {missing} are still to come, the disk has {left} free")


def _tag(partial: Path) -> Path:
    """Where the server's name for the version of the file is kept."""
    return partial.with_name(partial.name + ".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
