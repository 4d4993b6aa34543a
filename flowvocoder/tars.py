"""Tar files: one that a stranger may have made, read from its start to its end; and members of one that is written."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from flowvocoder.errors import FlowVocoderError

MOST_HEADER = 2**16
"""Bytes of what stands before a member, a long name for one: they are read at once."""

_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
             tarfile.GNUTYPE_LONGLINK)  # fmt: skip


def members(file: IO[bytes], path: Path, kind: type[FlowVocoderError]) -> Iterator[tuple[str, IO[bytes]]]:
    """The names of an open tar file's members with what reads them, which holds until the next one is asked for.

    Memory does not grow with their number, nor with what they claim to be.

    Args:
        path: for messages.

    Raises:
        kind: a member is no plain file, or claims more bytes than there are.
        tarfile.TarError: damaged.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive = tarfile.TarFile(fileobj=file, tarinfo=_Member)
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep one for each
        name = repr(info.name[:40])
        if not info.isreg() or info.issparse():  # a sparse file of no bytes may claim any size
            raise kind(f"{path}: is damaged ({name} is no file of bytes)")
        if not 0 <= info.size <= size - info.offset_data:
            raise kind(f"{path}: is damaged ({name} claims {info.size} bytes, there are {size - info.offset_data})")
        content = archive.extractfile(info)
        assert content is not None  # as for all plain files
        yield info.name, content


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """A plain file; time, owner and group are 0, so that the same content gives the same bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    archive.addfile(info, io.BytesIO(content))


class _Member(tarfile.TarInfo):
    # Where the library lets subclasses look at a header before it is acted on.
    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or (self.type in _EXTENDED and self.size > MOST_HEADER):
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member
