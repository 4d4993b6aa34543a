"""Unpacking archives that may be damaged or hostile."""

import dataclasses
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from flowvocoder.errors import DataError
from flowvocoder.files import reason, recover_folder, writing_folder
from flowvocoder.progress import progress_bytes

CHUNK = 1 << 20

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What the readers raise on bytes they cannot make sense of; the last two on zip methods and passwords."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of an archive."""

    name: str
    kind: str  # "file", "folder", or what else it is
    source: IO[bytes] | None  # of a file
    used: int  # bytes of the archive up to here, about


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip or (compressed) tar file into `folder`, which is there when everything is.

    Raises:
        DataError: the archive is damaged, or a member would leave the folder, is a link, a device or comes twice;
            nothing is left of it then.
        OutputError: the folder cannot be written.
    """
    recover_folder(folder)
    size = archive.stat().st_size
    with writing_folder(folder) as temporary, progress_bytes(f"unpacking {archive.name}", size) as advance:
        done = 0
        for member in _members(archive):
            _unpack(archive, member, temporary)
            advance(max(member.used - done, 0))
            done = max(done, member.used)


def _unpack(archive: Path, member: Member, folder: Path) -> None:
    target = folder / _safe(archive, member)
    if member.source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(f"{archive}: holds {member.name!r} twice")
    with target.open("wb") as out:
        for chunk in _chunks(archive, member.source):
            out.write(chunk)


def _safe(archive: Path, member: Member) -> PurePosixPath:
    """The member's path, if it stays below the folder it is unpacked to."""
    path, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if path.is_absolute() or windows.drive or windows.root or ".." in path.parts or ".." in windows.parts:
        raise DataError(f"{archive}: refused: its member {member.name!r} would be written outside of the folder")
    if member.kind not in ("file", "folder"):
        raise DataError(f"{archive}: refused: its member {member.name!r} is a {member.kind}, not a file or folder")
    return path


def _members(archive: Path) -> Iterator[Member]:
    try:
        yield from _zip(archive) if archive.suffix.lower() == ".zip" else _tar(archive)
    except DAMAGE as error:
        raise _damaged(archive, error) from error


def _zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        used = 0
        for info in file.infolist():
            used += info.compress_size
            mode = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                yield Member(info.filename, "folder", None, used)
            elif mode not in (0, stat.S_IFREG):
                yield Member(info.filename, "link or device", None, used)
            else:
                with file.open(info) as source:
                    yield Member(info.filename, "file", source, used)


def _tar(archive: Path) -> Iterator[Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as file:
        for info in file:
            if info.isreg():
                with file.extractfile(info) as source:  # type: ignore[union-attr]  # None only for what is no file
                    yield Member(info.name, "file", source, raw.tell())
            else:
                link = info.issym() or info.islnk()
                kind = "folder" if info.isdir() else "link" if link else "device"
                yield Member(info.name, kind, None, raw.tell())
        # The checksum of the compressed stream stands behind all members, where nobody would read it.
        while file.fileobj is not None and file.fileobj.read(CHUNK):
            pass


def _chunks(archive: Path, source: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := source.read(CHUNK):
            yield chunk
    except DAMAGE as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: BaseException) -> DataError:
    return DataError(f"{archive}: is truncated or damaged ({reason(error)})")
