"""Latent files, which `encode` writes and `decode` reads."""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.errors import ConfigError, MelError
from flowvocoder.files import reason, writing
from flowvocoder.mel.spec import MelSpec

if TYPE_CHECKING:
    import torch

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
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [OLD_LATENT if name == "latent" and OLD_LATENT in archive else name for name in FIELDS]
            missing = [name for name in names if name not in archive]
            if missing:
                raise MelError(f"{path}: not a latent file: no {', '.join(missing)} in it")
            z, mel, samples, own = (archive[name] for name in names)
    except OSError as error:
        raise MelError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, EOFError, AttributeError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise MelError(f"{path}: not a latent file (.npz written by `flowvocoder encode`)") from error
    try:
        own_spec = MelSpec.from_dict(json.loads(str(own)))
    except (ValueError, RecursionError, ConfigError) as error:
        raise MelError(f"{path}: not a latent file: its mel_spec is not the spec of a mel") from error
    if own_spec != spec:
        raise MelError(f"{path}: was encoded with another mel: {own_spec.difference(spec)}")
    for name, array in (("latent", z), ("mel", mel)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise MelError(f"{path}: {name} holds values that are no finite numbers")
    if samples.ndim or samples.dtype.kind not in "iu" or not 0 < samples <= mel.shape[-1] * spec.hop_length:
        raise MelError(f"{path}: samples is {samples}, expected 1 to {mel.shape[-1] * spec.hop_length}")
    return torch.from_numpy(z.astype(np.float32)), torch.from_numpy(mel.astype(np.float32)), int(samples)
