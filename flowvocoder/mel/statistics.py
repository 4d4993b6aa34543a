"""Mean and scale of every band, by which programs normalise mels; and how to undo it."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import MelError
from flowvocoder.extras import library
from flowvocoder.files import read_json, reading, writing
from flowvocoder.mel.arrays import read_array, read_npy

Doubles = npt.NDArray[np.float64]

MOST = 100_000
"""Numbers in one array of a file of statistics."""

SCALES = "scale", "std", "mel_std"
MEANS = "mean", "mel_mean"


@dataclasses.dataclass(frozen=True)
class MelStatistics:
    """A normalised mel is (mel - mean) / scale.

    Attributes:
        mean, scale: (n_mels,), or (1,) for all bands.
    """

    mean: Doubles
    scale: Doubles

    def undo(self, mel: Doubles) -> Doubles:
        """The mel (n_mels, F) of a normalised one. Raises MelError: another number of bands."""
        if len(self.mean) not in (1, mel.shape[0]):
            raise MelError(f"statistics of {len(self.mean)} bands do not fit a mel of {mel.shape[0]}")
        return mel * self.scale[:, None] + self.mean[:, None]


def read_statistics(path: Path) -> MelStatistics:
    """Statistics in the forms in which they are kept.

    - `.npy`: two rows, mean and scale (ParallelWaveGAN).
    - `.npz`, `.h5`, `.json`: `mean` and `scale` or `std`; `mel_mean` and `mel_std` (Matcha-TTS).
    - `.npz`: `count`, `sum` and `sum_square` (ESPnet).

    Raises:
        MelError: unreadable, none of these forms, not finite, or a scale that is not above 0.
    """
    readers = {".npz": _npz, ".h5": _h5, ".hdf5": _h5, ".json": _json}
    values = readers.get(path.suffix.lower(), _npy)(path)
    if {"count", "sum", "sum_square"} <= set(values):
        count = float(np.ravel(values["count"])[0])
        mean = np.ravel(values["sum"]) / max(count, 1.0)
        variance = np.ravel(values["sum_square"]) / max(count, 1.0) - mean**2
        values = {"mean": mean, "scale": np.sqrt(np.maximum(variance, 0.0))}
    if not set(MEANS) & set(values) or not set(SCALES) & set(values):
        found = ", ".join(sorted(values))[:80] or "nothing"
        raise MelError(f"{path}: expected mean and scale of a mel's bands, found {found}")
    mean, scale = (
        next(np.ravel(values[name]).astype(np.float64) for name in names if name in values) for names in (MEANS, SCALES)
    )
    if mean.shape != scale.shape or len(mean) == 0:
        raise MelError(f"{path}: {len(mean)} means do not fit {len(scale)} scales")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise MelError(f"{path}: a mean or scale is not finite, or a scale is not above 0")
    return MelStatistics(mean, scale)


def write_statistics(path: Path, statistics: MelStatistics) -> None:
    """A `.json` file that `read_statistics` reads. Raises OutputError: it cannot be written; MelError: other suffix."""
    if path.suffix != ".json":
        raise MelError(f"{path}: statistics are written to a name that ends in .json")
    with writing(path) as file:
        values = {"mean": statistics.mean.tolist(), "scale": statistics.scale.tolist()}
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _npy(path: Path) -> dict[str, Any]:
    array = read_array(path, MOST)
    if array.ndim != 2 or len(array) != 2:
        raise MelError(f"{path}: has shape {array.shape}, expected two rows, mean and scale")
    return {"mean": array[0], "scale": array[1]}


def _npz(path: Path) -> dict[str, Any]:
    values = {}
    with reading(path, MelError, "not an .npz file of statistics"), zipfile.ZipFile(path) as archive:
        for name in (*MEANS, *SCALES, "count", "sum", "sum_square"):
            if f"{name}.npy" in archive.namelist():
                with archive.open(f"{name}.npy") as file:
                    values[name] = read_npy(file, path, MOST, "fiub")
    return values


def _h5(path: Path) -> dict[str, Any]:
    h5py = library("h5py", "h5")
    with reading(path, MelError, "not an HDF5 file of statistics"), h5py.File(path, "r") as file:
        names = [name for name in (*MEANS, *SCALES) if isinstance(file.get(name), h5py.Dataset)]
        if any(file[name].size > MOST for name in names):
            raise MelError(f"{path}: more than {MOST} numbers")
        return {name: np.asarray(file[name], np.float64) for name in names}


def _json(path: Path) -> dict[str, Any]:
    values = read_json(path, MelError, "not statistics of a mel")
    if not isinstance(values, dict):
        raise MelError(f"{path}: expected mean and scale of a mel's bands")
    with reading(path, MelError, "holds a mean or scale that is no list of numbers"):
        return {name: np.array(values[name], np.float64) for name in (*MEANS, *SCALES) if name in values}
