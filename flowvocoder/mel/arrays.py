"""Arrays out of `.npy`, `.npz` and `.pt` files that a stranger may have made: numbers only, nothing is executed.

What a file claims to hold is checked before it is read, so that a small file cannot ask for a large memory.
"""

import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.errors import MelError
from flowvocoder.files import reason

SUFFIXES = (".npy", ".npz", ".pt")

MOST_VALUES = 50_000_000
"""Values in one array: two hours of 80 bands at 86 frames a second, read as float32 in 200 MB."""

_MOST_BYTES = 8 * MOST_VALUES
_DAMAGED = (ValueError, EOFError, MemoryError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile)


def read_array(path: Path, most_values: int = MOST_VALUES) -> npt.NDArray[np.generic]:
    """The array of real floating-point numbers in a file; of an archive the one called `mel`, or the only one.

    Raises:
        MelError: no such file, unreadable, damaged, pickled objects, not floating-point, or more than `most_values`.
    """
    if not path.exists():
        raise MelError(f"{path}: no such file")
    readers = {".npz": _npz, ".pt": _pt}
    try:
        array = readers.get(path.suffix.lower(), _npy)(path, most_values)
    except OSError as error:
        raise MelError(f"{path}: cannot be read ({reason(error)})") from error
    if array.dtype.kind != "f":
        raise MelError(f"{path}: holds {array.dtype}, expected an array of floating-point numbers")
    return array


def _npy(path: Path, most: int) -> npt.NDArray[np.generic]:
    with path.open("rb") as file:
        return _array(file, path, most)


def _npz(path: Path, most: int) -> npt.NDArray[np.generic]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            name = "mel.npy" if "mel.npy" in names else names[0] if len(names) == 1 else None
            if name is None:
                found = ", ".join(n.removesuffix(".npy")[:40] for n in names[:5]) or "none"
                raise MelError(f"{path}: expected one array, or one called mel; there are {len(names)} ({found})")
            # The header says how many numbers follow, and no more are unpacked than that.
            with archive.open(name) as file:
                return _array(file, path, most)  # type: ignore[arg-type]
    except _DAMAGED as error:
        raise MelError(f"{path}: not an .npz file of numbers") from error


def _array(file: BinaryIO, path: Path, most: int) -> npt.NDArray[np.generic]:
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise MelError(f"{path}: holds pickled Python objects, which are not read: save an array of numbers")
        count = _count(shape, path, most)
        data = file.read(count * dtype.itemsize)
        if len(data) < count * dtype.itemsize:
            raise MelError(f"{path}: is truncated: {len(data)} of {count * dtype.itemsize} bytes of numbers")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    except _DAMAGED as error:
        raise MelError(f"{path}: not a .npy file of numbers") from error


def _pt(path: Path, most: int) -> npt.NDArray[np.generic]:
    if not zipfile.is_zipfile(path):
        raise MelError(f"{path}: not a .pt file of PyTorch 1.6 or later: save the tensor again with torch.save")
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > _MOST_BYTES:
            raise MelError(f"{path}: unpacks to {declared} bytes, {_MOST_BYTES} are allowed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # weights_only is an unpickler that knows tensors and plain containers, and runs nothing else.
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MelError:
        raise
    except Exception as error:  # PyTorch has no class for "not what weights_only allows"
        raise MelError(f"{path}: not a tensor: a .pt file may hold one tensor and no other Python objects") from error
    if isinstance(loaded, dict):
        loaded = loaded.get("mel", next(iter(loaded.values()), None) if len(loaded) == 1 else None)
    if not isinstance(loaded, torch.Tensor) or loaded.layout != torch.strided or loaded.is_meta or loaded.is_quantized:
        raise MelError(f"{path}: holds no tensor (nor a dict with one called mel)")
    _count(tuple(loaded.shape), path, most)  # a tensor may claim more values than are stored
    if not loaded.is_floating_point():
        raise MelError(f"{path}: holds {loaded.dtype}, expected an array of floating-point numbers")
    return loaded.detach().float().contiguous().numpy()


def _count(shape: tuple[int, ...], path: Path, most: int) -> int:
    count = 1
    for size in shape:
        count *= size
    if not 0 <= count <= most:
        raise MelError(f"{path}: claims shape {shape}, {count} values; at most {most} are read")
    return count
