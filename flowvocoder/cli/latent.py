"""`encode` and `decode`: latent files."""

import argparse
import json
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.cli.common import check_output, load_vocoder, read_recording, write_speech
from flowvocoder.errors import MelError
from flowvocoder.files import reason, writing
from flowvocoder.mel.spec import MelSpec

FIELDS = ("noise", "mel", "samples", "mel_spec")
Array = npt.NDArray[np.generic]


def encode(arguments: argparse.Namespace) -> int:
    """IN -> OUT.npz with noise (M, N), mel (n_mels, F), the length in samples and the mel's spec."""
    check_output(arguments.output, (".npz",))
    vocoder = load_vocoder(arguments)
    recording = read_recording(arguments.input, vocoder.spec)
    noise, mel = vocoder.encode(torch.from_numpy(recording.samples))
    with writing(arguments.output) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            noise=noise[0].cpu().numpy(),
            mel=mel[0].cpu().numpy(),
            samples=np.int64(len(recording.samples)),
            mel_spec=np.array(json.dumps(vocoder.spec.to_dict())),
        )
    bands, blocks = noise.shape[1:]
    print(
        f"{arguments.output}: noise of {bands} bands x {blocks} blocks, mean {noise.mean():.3f}, std {noise.std():.3f}"
    )
    return 0


def decode(arguments: argparse.Namespace) -> int:
    """IN.npz -> OUT.wav, the recording that was encoded (or what became of its noise)."""
    check_output(arguments.output, (".wav", ".flac"))
    vocoder = load_vocoder(arguments)
    values = _load(arguments.input)
    spec = MelSpec.from_dict(json.loads(str(values["mel_spec"])))
    if spec != vocoder.spec:
        raise MelError(f"{arguments.input}: was encoded with another mel: {spec.difference(vocoder.spec)}")
    noise, mel = (torch.from_numpy(values[name].astype(np.float32)) for name in ("noise", "mel"))
    if not torch.isfinite(noise).all():
        raise MelError(f"{arguments.input}: the noise holds values that are NaN or infinite")
    try:
        audio = vocoder.decode(noise, mel)[0, : int(values["samples"])].cpu().numpy()
    except MelError as error:
        raise MelError(f"{arguments.input}: {error}") from error
    write_speech(arguments.output, audio, vocoder.sample_rate)
    print(f"{arguments.output}: {len(audio) / vocoder.sample_rate:.2f} s")
    return 0


def _load(path: Path) -> dict[str, Array]:
    if not path.exists():
        raise MelError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in FIELDS if name not in archive]
            if missing:
                raise MelError(f"{path}: not a latent file: no {', '.join(missing)} in it")
            values = {name: archive[name] for name in FIELDS}
    except OSError as error:
        raise MelError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise MelError(f"{path}: not a latent file (.npz written by `flowvocoder encode`)") from error
    return values
