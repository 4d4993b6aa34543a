"""Arrays out of `.npy`, `.npz` and `.pt` files that a stranger may have made: numbers only, nothing is executed.

What a file claims to hold is checked before it is read, so that a small file cannot ask for a large memory.
"""

import math
import mmap
import os
import threading
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import MelError
from flowvocoder.files import reading

SUFFIXES = (".npy", ".npz", ".pt")

MOST_VALUES = 50_000_000
"""Values in one array: two hours of 80 bands at 86 frames a second, read as float32 in 200 MB."""

_HEADERS = threading.Lock()
"""Held while a header is parsed. Python before 3.11.8 and 3.12.2 counts the depth of a parser for all threads at once,
and may take a sound header for a damaged one (https://github.com/python/cpython/issues/106905)."""

_MOST_BYTES = 8 * MOST_VALUES
_PIECE = 2**20
_AUDIO = {b"RIFF", b"fLaC", b"OggS", b"RF64"}  # what such files begin with
_KINDS = {"fiub": "numbers", "f": "floating-point numbers", "iu": "whole numbers", "U": "text"}

Array = npt.NDArray[np.generic]


def read_array(path: Path, most_values: int = MOST_VALUES, mapped: bool = False) -> Array:
    """The array of real floating-point numbers in a file; of an archive the one called `mel`, or the only one.

    Args:
        mapped: a `.npy` file stays on disk, and its parts come into memory when they are read. See `forget`.

    Raises:
        MelError: no such file, unreadable, damaged, pickled objects, not floating-point, or more than `most_values`.
    """
    if not path.exists():
        raise MelError(f"{path}: no such file")
    readers = {".npz": _npz, ".pt": _pt}
    if reader := readers.get(path.suffix.lower()):
        return reader(path, most_values)
    with reading(path, MelError, "not a .npy file of numbers"), path.open("rb") as file:
        if file.peek(4)[:4] in _AUDIO:
            raise MelError(f"{path}: is a recording, not a mel: `flowvocoder mel` makes one of it")
        return read_npy(file, path, most_values, mapped=mapped)


def forget(array: Array) -> None:
    """Give back the memory of what was read of a mapped file; nothing for other arrays, or where this is unknown."""
    mapped: object = array
    while not isinstance(mapped, mmap.mmap):
        if mapped is None:
            return
        mapped = getattr(mapped, "base", None)
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def read_bands(path: Path) -> npt.NDArray[np.float64]:
    """A mel (bands, frames) in whatever form; one leading axis of length 1 is dropped.

    Raises:
        MelError: as `read_array`, of another shape, or not finite.
    """
    mel = read_array(path).astype(np.float64)
    mel = mel[0] if mel.ndim == 3 and len(mel) == 1 else mel
    if mel.ndim != 2 or 0 in mel.shape:
        raise MelError(f"{path}: has shape {mel.shape}, expected (bands, frames)")
    check_finite(mel, path)
    return mel


def frames_of(mel: npt.NDArray[np.float32], start: int, stop: int) -> npt.NDArray[np.float32]:
    """A copy of frames of mels (B, n_mels, F), for which no more than a band of a mapped file is in memory."""
    bands = []
    for band in (band for item in mel for band in item):
        bands.append(np.array(band[start:stop]))
        forget(mel)  # a system may map two megabytes for one number
    return np.stack(bands).reshape(*mel.shape[:2], -1)


def check_finite(mel: Array, path: Path) -> None:
    """Raises MelError that says how many values are NaN or infinite."""
    bad = int(np.count_nonzero(~np.isfinite(mel)))
    if bad:
        raise MelError(f"{path}: {bad} of {mel.size} values are NaN or infinite")


def read_npy(
    file: IO[bytes], path: Path, most_values: int = MOST_VALUES, kinds: str = "f", mapped: bool = False
) -> Array:
    """The array of an open `.npy` file; its header says how many numbers follow, and no more are read than that.

    Args:
        path: for messages.
        kinds: NumPy's codes of the types that are wanted.
        mapped: as of `read_array`; the file is one on disk.

    Raises:
        MelError: as `read_array`.
    """
    with reading(path, MelError, "not a .npy file of numbers"):
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with _HEADERS:
            shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise MelError(f"{path}: holds pickled Python objects, which are not read: save an array of numbers")
        if dtype.kind not in kinds:
            raise MelError(f"{path}: holds {str(dtype)[:40]}, expected an array of {_KINDS[kinds]}")
        size = _count(shape, path, most_values) * dtype.itemsize
        if size > _MOST_BYTES:
            raise MelError(f"{path}: claims {size} bytes, {_MOST_BYTES} are allowed")
        if mapped and size:
            left = os.fstat(file.fileno()).st_size - file.tell()
            if left < size:
                raise MelError(f"{path}: is truncated: {left} of {size} bytes of numbers")
            return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
        data = np.empty(size, np.uint8)
        done = 0
        while done < size and (piece := file.read(min(_PIECE, size - done))):
            data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
        if done < size:
            raise MelError(f"{path}: is truncated: {done} of {size} bytes of numbers")
        return data.view(dtype).reshape(shape, order="F" if fortran else "C")


def _npz(path: Path, most: int) -> Array:
    with reading(path, MelError, "not an .npz file of numbers"), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        name = "mel.npy" if "mel.npy" in names else names[0] if len(names) == 1 else None
        if name is None:
            found = ", ".join(n.removesuffix(".npy")[:40] for n in names[:5]) or "none"
            raise MelError(f"{path}: expected one array, or one called mel; there are {len(names)} ({found})")
        with archive.open(name) as file:
            return read_npy(file, path, most)


def _pt(path: Path, most: int) -> Array:
    try:
        import torch
    except ImportError as error:
        raise MelError(f"{path}: a .pt file needs PyTorch, which is not installed: save a .npy file") from error
    problem = "not a tensor: a .pt file may hold one tensor and no other Python objects"
    with reading(path, MelError, problem):
        if not zipfile.is_zipfile(path):
            raise MelError(f"{path}: not a .pt file of PyTorch 1.6 or later: save the tensor again with torch.save")
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > _MOST_BYTES:
            raise MelError(f"{path}: unpacks to {declared} bytes, {_MOST_BYTES} are allowed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # weights_only is an unpickler that knows tensors and plain containers, and runs nothing else.
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            if isinstance(loaded, dict) and "mel" not in loaded and len(loaded) != 1:
                found = ", ".join(str(name)[:40] for name in list(loaded)[:5]) or "none"
                raise MelError(f"{path}: expected a tensor, or a dict with one called mel; its keys are {found}")
            if isinstance(loaded, dict):
                loaded = loaded.get("mel", next(iter(loaded.values())))
            return _of_tensor(loaded, path, most)


def of_safetensors(content: bytes, path: Path, most_values: int = MOST_VALUES) -> Array:
    """The tensor called `mel`, or the only one, of a safetensors file. Raises MelError as `read_array`."""
    import safetensors.torch

    with reading(path, MelError, "not a safetensors file"):
        tensors = safetensors.torch.load(content)
    if "mel" not in tensors and len(tensors) != 1:
        found = ", ".join(name[:40] for name in sorted(tensors)[:5]) or "none"
        raise MelError(f"{path}: expected one tensor, or one called mel; there are {len(tensors)} ({found})")
    return _of_tensor(tensors.get("mel", next(iter(tensors.values()))), path, most_values)


def _of_tensor(loaded: object, path: Path, most: int) -> Array:
    import torch

    plain = isinstance(loaded, torch.Tensor) and loaded.layout == torch.strided
    if not isinstance(loaded, torch.Tensor) or not plain or loaded.is_meta or loaded.is_quantized or loaded.is_nested:
        raise MelError(f"{path}: holds no tensor (nor a dict with one called mel)")
    _count(tuple(loaded.shape), path, most)  # a tensor may claim more values than are stored
    if not loaded.is_floating_point():
        raise MelError(f"{path}: holds {loaded.dtype}, expected an array of floating-point numbers")
    return loaded.detach().resolve_neg().float().contiguous().numpy()


def _count(shape: tuple[int, ...], path: Path, most: int) -> int:
    count = math.prod(shape)
    if not 0 <= count <= most or min(shape, default=0) < 0:
        raise MelError(f"{path}: claims shape {str(shape)[:80]}, {count} values; at most {most} are read")
    return count
