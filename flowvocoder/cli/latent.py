"""Latent files, which `encode` writes and `decode` reads."""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.errors import MelError
from flowvocoder.files import reading, writing
from flowvocoder.mel.spec import MelSpec

if TYPE_CHECKING:
    import torch

    from flowvocoder.mel.arrays import Array

FIELDS = ("latent", "mel", "samples", "mel_spec")
OLD_LATENT = "noise"  # its name in files of version 0.1


def write_latent(path: Path, z: "torch.Tensor", mel: "torch.Tensor", samples: int, spec: MelSpec) -> None:
    """Latent z (M, N), its mel (n_mels, F), the recording's length in samples and the mel's spec, as .npz."""
    import numpy as np

    encoded = io.BytesIO()
    np.savez(
        encoded,
        latent=z.cpu().numpy(),
        mel=mel.cpu().numpy(),
        samples=np.int64(samples),
        mel_spec=np.array(json.dumps(spec.to_dict())),
    )
    with writing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def read_latent(path: Path, spec: MelSpec) -> "tuple[torch.Tensor, torch.Tensor, int]":
    """Latent, mel and length of a file, each checked for itself and the spec against the checkpoint's.

    Raises:
        MelError: no such file, not a latent file, or of another mel.
    """
    import numpy as np
    import torch

    if not path.exists():
        raise MelError(f"{path}: no such file")
    with reading(path, MelError, "not a latent file (.npz written by `flowvocoder encode`)"):
        z, mel, samples, own = _members(path)
        if z.ndim != 2 or mel.ndim != 2:
            raise MelError(f"{path}: latent and mel have shapes {z.shape} and {mel.shape}, expected two of each")
        with np.errstate(over="ignore"):
            z, mel = z.astype(np.float32), mel.astype(np.float32)
        for name, array in (("latent", z), ("mel", mel)):
            if not np.isfinite(array).all():
                raise MelError(f"{path}: {name} holds values that are no finite numbers")
        if samples.ndim or not 0 < int(samples) <= mel.shape[-1] * spec.hop_length:
            raise MelError(f"{path}: samples is {samples}, expected 1 to {mel.shape[-1] * spec.hop_length}")
    with reading(path, MelError, "not a latent file: its mel_spec is not the spec of a mel"):
        own_spec = MelSpec.from_dict(json.loads(str(own)))
    if own_spec != spec:
        raise MelError(f"{path}: was encoded with another mel: {own_spec.difference(spec)}")
    return torch.from_numpy(z), torch.from_numpy(mel), int(samples)


def _members(path: Path) -> "list[Array]":
    """The arrays of `FIELDS`, each of the kind it should be."""
    from flowvocoder.mel.arrays import read_npy

    found = []
    with zipfile.ZipFile(path) as archive:
        there = set(archive.namelist())
        names = [OLD_LATENT if name == "latent" and f"{OLD_LATENT}.npy" in there else name for name in FIELDS]
        missing = [name for name in names if f"{name}.npy" not in there]
        if missing:
            raise MelError(f"{path}: not a latent file: no {', '.join(missing)} in it")
        for name, kinds in zip(names, ("f", "f", "iu", "U"), strict=True):
            with archive.open(f"{name}.npy") as file:
                found.append(read_npy(file, path / f"{name}.npy", kinds=kinds))
    return found
