"""Unpacking archives that may be damaged or hostile."""

import dataclasses
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import IO

from flowvocoder.errors import DataError
from flowvocoder.files import reading, recover_folder, writing_folder
from flowvocoder.progress import progress_bytes

CHUNK = 1 << 20

MOST_TIMES, MOST_MORE = 100, 100 * 2**20
"""An archive unpacks to at most so many times its own size, and so many bytes more: recordings hardly shrink."""

DAMAGED = "is truncated or damaged"


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of an archive."""

    name: str
    kind: str  # "file", "folder", "link" or "device"
    used: int  # bytes of the archive up to here, about
    source: IO[bytes] | None = None  # of a file
    points_to: str = ""  # of a link, seen from the folder that all is unpacked to


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip or (compressed) tar file into `folder`, which is there when everything is.

    Raises:
        DataError: the archive is damaged, or a member would leave the folder, points out of it, is a device or comes
            twice; nothing is left of it then. Links within the folder are left out: no recording is one.
        OutputError: the folder cannot be written.
    """
    recover_folder(folder)
    size = archive.stat().st_size
    with writing_folder(folder) as temporary, progress_bytes(f"unpacking {archive.name}", size) as advance:
        done, left = 0, MOST_TIMES * size + MOST_MORE
        for member in _members(archive):
            left = _unpack(archive, member, temporary, left)
            advance(max(member.used - done, 0))
            done = max(done, member.used)


def _unpack(archive: Path, member: Member, folder: Path, left: int) -> int:
    """Write a member of at most `left` bytes; returns how many are left then."""
    _check(archive, member)
    target = folder / member.name
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
    if member.source is None:
        return left
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(f"{archive}: holds {member.name!r} twice")
    with target.open("wb") as out:
        for chunk in _chunks(archive, member.source):
            left -= len(chunk)
            if left < 0:
                raise DataError(f"{archive}: unpacks to more than {MOST_TIMES} times its size: refused")
            out.write(chunk)
    return left


def _check(archive: Path, member: Member) -> None:
    """Raises DataError where a member would leave the folder, or lead out of it, or is none to unpack."""
    if "\0" in member.name:
        raise DataError(f"{archive}: refused: its member {member.name[:40]!r} has a zero byte in its name")
    if _leaves(member.name):
        raise DataError(f"{archive}: refused: its member {member.name!r} would be written outside of the folder")
    if member.kind == "device":
        raise DataError(f"{archive}: refused: its member {member.name!r} is a device, not a file or folder")
    if member.kind == "link" and _leaves(member.points_to):
        raise DataError(f"{archive}: refused: its member {member.name!r} is a link out of the folder")


def _leaves(name: str) -> bool:
    """Whether a path, as this or another system reads it, leads out of the folder it is seen from."""
    windows = PureWindowsPath(name)
    plain = posixpath.normpath(name.replace("\\", "/"))
    return bool(plain.startswith("/") or windows.drive or windows.root or plain.split("/")[0] == "..")


def _members(archive: Path) -> Iterator[Member]:
    with reading(archive, DataError, DAMAGED):
        yield from _zip(archive) if archive.suffix.lower() == ".zip" else _tar(archive)


def _zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        used = 0
        for info in file.infolist():
            used += info.compress_size
            mode = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                yield Member(info.filename, "folder", used)
            elif mode == stat.S_IFLNK:
                yield Member(info.filename, "link", used, points_to=_beside(info.filename, file.read(info).decode()))
            elif mode not in (0, stat.S_IFREG):
                yield Member(info.filename, "device", used)
            else:
                with file.open(info) as source:
                    yield Member(info.filename, "file", used, source)


def _tar(archive: Path) -> Iterator[Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as file:
        for info in file:
            if info.isreg() and not info.issparse():  # a sparse file of no bytes may fill a disk
                with file.extractfile(info) as source:  # type: ignore[union-attr]  # None only for what is no file
                    yield Member(info.name, "file", raw.tell(), source)
            elif info.issym() or info.islnk():
                place = _beside(info.name, info.linkname) if info.issym() else info.linkname
                yield Member(info.name, "link", raw.tell(), points_to=place)
            else:
                yield Member(info.name, "folder" if info.isdir() else "device", raw.tell())
        # The checksum of the compressed stream stands behind all members, where nobody would read it.
        while file.fileobj is not None and file.fileobj.read(CHUNK):
            pass


def _beside(name: str, link: str) -> str:
    return posixpath.join(posixpath.dirname(name), link)


def _chunks(archive: Path, source: IO[bytes]) -> Iterator[bytes]:
    with reading(archive, DataError, DAMAGED):
        while chunk := source.read(CHUNK):
            yield chunk
