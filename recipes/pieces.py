"""A run in pieces of a size: what of it comes back from a machine that gives few and small files, and put together."""

import dataclasses
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowvocoder.errors import CheckpointError, DataError, FlowVocoderError, OutputError
from flowvocoder.files import read_json, readable_folder, reading, reason, sha256_of, writing, writing_folder
from flowvocoder.training.folder import BEST, CHECKPOINT, LOG, STATE

FORMAT = 1
LIST = "pieces.json"
TENSORS = "state.safetensors"
_PROGRESS = "state.json"
_NAME = re.compile(rf"({CHECKPOINT}|{BEST})/(model\.safetensors|config\.json)|{STATE}/state\.(json|safetensors)|{LOG}")
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Brought:
    """What is in the pieces.

    Attributes:
        step: of the run.
        sizes: bytes of each part: the checkpoint, the best one, the optimiser's state.
        said: for people, a line a part, those that did not fit too.
    """

    step: int
    sizes: dict[str, int]
    said: list[str]


def cut(run: Path, out: Path, limit: int, budget: int) -> Brought:
    """Write the most important of a run to `out` in files of at most `limit` bytes, and their list.

    The checkpoint comes first, then the best one, then what the optimiser remembers. A part that does not fit is
    stored at half precision, and left out where it does not fit then. Without the optimiser's state, `--resume`
    continues from the checkpoint's weights.

    Args:
        budget: bytes of all of them at most.

    Raises:
        CheckpointError: the run has no checkpoint, or not even that one fits.
        OutputError: a file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files, brought = _chosen(run, budget, Path(scratch))
        listed = [{"name": n, "bytes": p.stat().st_size, "sha256": sha256_of(p)} for n, p in files]
        written = list(_write(_blocks(files), out, limit))
    values = {"format": FORMAT, "step": brought.step, "pieces": written, "files": listed}
    with writing(out / LIST) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return brought


def join(out: Path, run: Path) -> int:
    """Put the pieces in `out` together as a run folder. Returns its step.

    Raises:
        DataError: a piece is missing or altered, or the list is damaged.
        CheckpointError: the run that stands there is as far, or further.
        OutputError: the run cannot be written.
    """
    path = out / LIST
    values = read_json(path, DataError)
    with reading(path, DataError, "is damaged"):
        if values["format"] > FORMAT:
            raise DataError(f"{path}: has format {values['format']}, this version reads up to {FORMAT}")
        step, files = int(values["step"]), values["files"]
        for file in files:
            if not _NAME.fullmatch(file["name"]):
                raise DataError(f"{path}: names {file['name']!r}, which is no file of a run")
        expected = [(str(p["name"]), int(p["bytes"]), str(p["sha256"])) for p in values["pieces"]]
        if sum(size for _, size, _ in expected) != sum(int(file["bytes"]) for file in files):
            raise DataError(f"{path}: its pieces have other bytes than its files")
    have = _step_of(run)
    if have is not None and have >= step:
        raise CheckpointError(f"{run}: is at step {have} already, the pieces are of step {step}: name another folder")
    for name, size, sha256 in expected:
        piece = out / Path(name).name
        if not piece.is_file():
            raise DataError(f"{piece}: no such file")
        if piece.stat().st_size != size or sha256_of(piece) != sha256:
            raise DataError(f"{piece}: is not the piece that was written: its size or SHA-256 is another")
    _put(files, _read([out / Path(name).name for name, _, _ in expected]), run)
    return step


def _chosen(run: Path, budget: int, scratch: Path) -> tuple[list[tuple[str, Path]], Brought]:
    """(names and paths of the files that fit, what they are)."""
    checkpoint = readable_folder(run / CHECKPOINT)
    if not checkpoint.is_dir():
        raise CheckpointError(f"{run}: has no checkpoint to bring back")
    state = readable_folder(run / STATE)
    always = [(name, path) for name, path in ((f"{STATE}/{_PROGRESS}", state / _PROGRESS), (LOG, run / LOG))
              if path.is_file()]  # fmt: skip
    left = budget - sum(path.stat().st_size for _, path in always)
    files, sizes, said = list(always), {}, []
    for part in (CHECKPOINT, BEST):
        if not readable_folder(run / part).is_dir():
            continue
        for folder, how in _versions(readable_folder(run / part), scratch / part):
            if (size := sum(p.stat().st_size for p in folder.iterdir())) <= left:
                files += [(f"{part}/{p.name}", p) for p in sorted(folder.iterdir())]
                left, sizes[part] = left - size, size
                said.append(f"{part}: {size} bytes, {how}")
                break
        else:
            said.append(f"{part}: left out, {size} bytes do not fit the {left} left")
    if CHECKPOINT not in sizes:
        raise CheckpointError(f"{run}: {said[0]}: allow more bytes")
    tensors = state / TENSORS
    if tensors.is_file() and (size := tensors.stat().st_size) <= left:
        files.append((f"{STATE}/{TENSORS}", tensors))
        sizes[STATE] = size
        said.append(f"{STATE}: {size} bytes: --resume continues as if nothing had been")
    elif tensors.is_file():
        said.append(f"{STATE}: the optimiser's {size} bytes do not fit the {left} left:"
                    " --resume continues from the averaged weights, its learning rate warms up again")  # fmt: skip
    return files, Brought(_step_of(run) or 0, sizes, said)


def _versions(folder: Path, half: Path) -> Iterator[tuple[Path, str]]:
    """A checkpoint as it is; then at half precision."""
    import torch

    from flowvocoder.checkpoint import load_checkpoint, save_checkpoint

    yield folder, "as saved"
    save_checkpoint(half, load_checkpoint(folder), torch.float16)
    yield half, "float16"


def _blocks(files: Sequence[tuple[str, Path]]) -> Iterator[bytes]:
    for _, path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def _write(blocks: Iterator[bytes], out: Path, limit: int) -> Iterator[dict[str, Any]]:
    """Write all bytes in pieces; gives the name, bytes and SHA-256 of each."""
    rest = b""
    for number in range(10_000):
        name, size, digest = f"run.{number:02d}", 0, hashlib.sha256()
        with writing(out / name) as temporary, temporary.open("wb") as file:
            while size < limit and (block := rest or next(blocks, b"")):
                part, rest = block[: limit - size], block[limit - size :]
                file.write(part)
                digest.update(part)
                size += len(part)
        yield {"name": name, "bytes": size, "sha256": digest.hexdigest()}
        if not rest and not (rest := next(blocks, b"")):
            return


def _read(pieces: Sequence[Path]) -> Iterator[bytes]:
    for path in pieces:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def _put(files: Sequence[dict[str, Any]], blocks: Iterator[bytes], run: Path) -> None:
    """Write the files in their order, each folder as a whole: the checkpoint after what came before it."""
    rest = b""
    with tempfile.TemporaryDirectory(dir=_made(run)) as scratch:
        for file in files:
            path, left, digest = Path(scratch) / file["name"], int(file["bytes"]), hashlib.sha256()
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as written:
                while left:
                    block = rest or next(blocks)
                    part, rest = block[:left], block[left:]
                    written.write(part)
                    digest.update(part)
                    left -= len(part)
            if digest.hexdigest() != file["sha256"]:
                raise DataError(f"{run / file['name']}: not written: its SHA-256 is not the one in {LIST}")
        for made in sorted(Path(scratch).iterdir(), key=lambda p: p.name == STATE):  # the state last: its step counts
            if made.is_dir():
                with writing_folder(run / made.name) as folder:
                    for inner in made.iterdir():
                        inner.replace(folder / inner.name)
            else:
                with writing(run / made.name) as temporary:
                    made.replace(temporary)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({reason(error)})") from error
    return folder


def _step_of(run: Path) -> int | None:
    """The step of the run in a folder; None where there is none."""
    path = readable_folder(run / STATE) / _PROGRESS
    if not path.is_file():
        return None
    try:
        return int(read_json(path, DataError)["step"])
    except (FlowVocoderError, KeyError, TypeError, ValueError):
        return None
