"""Mel files: `.npy` with the spec beside it in `.npy.json`; `.npz` and `.pt` are read too."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import ConfigError, ImplausibleMelError, MelError
from flowvocoder.files import read_json, reading, writing
from flowvocoder.mel.arrays import MOST_VALUES, Array, check_finite, of_safetensors, read_array, read_npy
from flowvocoder.mel.diagnose import MANY, implausible, too_loud
from flowvocoder.mel.spec import MelSpec

Mel = npt.NDArray[np.float32]


def sidecar(path: Path) -> Path:
    """Where the spec of a mel file is kept."""
    return path.with_name(path.name + ".json")


def write_mel(path: Path, mel: Mel, spec: MelSpec) -> None:
    """Write (n_mels, F) and its spec. Raises OutputError if either cannot be written, MelError for another suffix."""
    if path.suffix != ".npy":
        raise MelError(f"{path}: a mel file's name ends in .npy")
    content = npy_bytes(mel)  # numpy words a full disk in its own way
    with writing(sidecar(path)) as spec_file, writing(path) as mel_file:
        spec_file.write_text(json.dumps(spec.to_dict(), indent=2) + "\n", encoding="utf-8")
        mel_file.write_bytes(content)


def npy_bytes(mel: Mel) -> bytes:
    """The content of a `.npy` file of 32-bit floats."""
    encoded = io.BytesIO()
    np.save(encoded, np.asarray(mel, dtype=np.float32))
    return encoded.getvalue()


def read_mel(
    path: Path, spec: MelSpec, trust: bool = False, most_frames: int | None = None, mapped: bool = False
) -> Mel:
    """Read (n_mels, F), checked against the spec a model wants.

    With a spec beside the file the two must be equal, and the mel not too loud for audio in -1..1; without, the numbers
    must be plausible for `spec`. With `trust` nothing is looked at. One leading axis of length 1 is dropped.

    Args:
        mapped: as of `read_array`; nothing can be written into the mel.

    Raises:
        MelError: unreadable, of another shape or spec, longer than `most_frames`, not finite, or implausible
            (ImplausibleMelError); the message says how.
    """
    # A few times what is wanted, so that a mel that is transposed or too long still hears so.
    mel = read_array(path, MOST_VALUES if most_frames is None else 4 * most_frames * spec.n_mels, mapped)
    return checked(mel, path, spec, None if trust else spec_beside(path), trust, most_frames)


def checked(
    mel: Array,
    path: Path,
    spec: MelSpec,
    own: MelSpec | None,
    trust: bool = False,
    most_frames: int | None = None,
    undo: Callable[[Mel], Mel] = lambda mel: mel,
) -> Mel:
    """What `read_mel` gives of a file's numbers, and raises.

    Args:
        path: for messages.
        own: the spec that is said of the numbers.
        undo: what makes a mel of `spec` of numbers without one.
    """
    if own is not None and own != spec:
        difference = own.difference(spec)
        raise MelError(f"{path}: is a {own.name()} mel, the checkpoint wants {spec.name()}: {difference}")
    fitting = _fitting(mel, path, spec, most_frames)
    if own is None:
        fitting = undo(fitting).astype(np.float32, copy=False)
    if not trust:
        # Of a long mapped file not all is to be in memory, and what is too loud is so everywhere.
        problem = implausible(fitting, spec) if own is None else too_loud(fitting[:, :MANY], spec)
        if problem:
            raise ImplausibleMelError(f"{path}: not a plausible {spec.name()} mel: {problem}")
    return fitting


def _fitting(array: Array, path: Path, spec: MelSpec, most_frames: int | None = None) -> Mel:
    """The array in 32 bits. Raises MelError: of another shape, too long, or not finite in as many bits."""
    with np.errstate(over="ignore"):
        mel = array.astype(np.float32, copy=False)
    if mel.ndim == 3 and mel.shape[0] == 1:
        mel = mel[0]
    if mel.ndim != 2:
        batch = len(mel) if mel.ndim == 3 else 0
        several = f": save each of the {batch} mels in a file of its own" if batch else ""
        raise MelError(f"{path}: has shape {mel.shape}, expected ({spec.n_mels}, frames){several}")
    if mel.shape[0] != spec.n_mels:
        hint = "; it looks transposed: save mel.T" if mel.shape[1] == spec.n_mels else ""
        raise MelError(
            f"{path}: has {mel.shape[0]} bands, the checkpoint wants {spec.n_mels} (shape {mel.shape}){hint}"
        )
    if mel.shape[1] == 0:
        raise MelError(f"{path}: has 0 frames")
    if most_frames is not None and mel.shape[1] > most_frames:
        raise MelError(f"{path}: has {mel.shape[1]} frames, at most {most_frames} are taken here")
    check_finite(mel, path)
    return mel


def check_length(path: Path, mel: Mel, samples: int, spec: MelSpec) -> None:
    """Refuse a mel (n_mels, F) that does not belong to this many samples: toolkits differ by a frame, not by more.

    Raises:
        MelError: naming the file and both numbers of frames.
    """
    have, need = mel.shape[1], samples // spec.hop_length
    if abs(have - need) > 1:
        raise MelError(f"{path}: has {have} frames, its audio of {samples} samples has {need} (hop {spec.hop_length})")


def spec_beside(path: Path) -> MelSpec | None:
    """The spec kept beside a mel file, if there is one. Raises MelError if it cannot be read."""
    path = sidecar(path)
    if not path.exists():
        return None
    try:
        return MelSpec.from_dict(read_json(path, MelError, "not a mel spec"))
    except ConfigError as error:
        raise MelError(f"{path}: {error}") from error


def decode_mel(content: bytes, path: Path, spec: MelSpec, most_frames: int | None = None) -> Mel:
    """(n_mels, F) from the content of a `.npy` or safetensors file. Raises MelError as `read_mel`.

    Args:
        path: for messages.
    """
    most = MOST_VALUES if most_frames is None else 4 * most_frames * spec.n_mels
    array = read_npy(io.BytesIO(content), path, most) if is_npy(content) else of_safetensors(content, path, most)
    return _fitting(array, path, spec, most_frames)


def is_npy(content: bytes) -> bool:
    """Whether the content of a file begins as a `.npy` file does."""
    return content.startswith(np.lib.format.MAGIC_PREFIX)


def is_safetensors(content: bytes) -> bool:
    """Whether the content of a file begins as a safetensors file does."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def mel_of_numbers(numbers: object, path: Path, spec: MelSpec, most_frames: int | None = None) -> Mel:
    """(n_mels, F) from lists of numbers, as JSON gives them. Raises MelError as `read_mel`."""
    with reading(path, MelError, "no list of lists of numbers, all as long"):
        array = np.asarray(numbers)
        if array.dtype.kind not in "fiu":
            raise MelError(f"{path}: holds {array.dtype}, expected numbers")
    return _fitting(array, path, spec, most_frames)
