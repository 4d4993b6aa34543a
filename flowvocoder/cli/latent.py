"""`encode` and `decode`: latent files."""

import argparse
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch

from flowvocoder.cli.common import check_output, load_vocoder, read_recording, write_speech
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.files import reason, writing
from flowvocoder.mel.spec import MelSpec

FIELDS = ("noise", "mel", "samples", "mel_spec")


def encode(arguments: argparse.Namespace) -> int:
    """IN -> OUT.npz with noise (M, N), mel (n_mels, F), the length in samples and the mel's spec."""
    check_output(arguments.output, (".npz",))
    vocoder = load_vocoder(arguments)
    recording = read_recording(arguments.input, vocoder.spec)
    noise, mel = vocoder.encode(torch.from_numpy(recording.samples))
    encoded = io.BytesIO()
    np.savez(
        encoded,
        noise=noise[0].cpu().numpy(),
        mel=mel[0].cpu().numpy(),
        samples=np.int64(len(recording.samples)),
        mel_spec=np.array(json.dumps(vocoder.spec.to_dict())),
    )
    with writing(arguments.output) as temporary:
        temporary.write_bytes(encoded.getbuffer())
    channels, columns = noise.shape[1:]
    spread = f"mean {noise.mean():.3f}, std {noise.std():.3f}"
    print(f"{arguments.output}: noise of {channels} channels x {columns} columns, {spread}")
    return 0


def decode(arguments: argparse.Namespace) -> int:
    """IN.npz -> OUT.wav, the recording that was encoded (or what became of its noise)."""
    check_output(arguments.output, (".wav", ".flac"))
    vocoder = load_vocoder(arguments)
    noise, mel, samples = _load(arguments.input, vocoder.spec)
    try:
        audio = vocoder.decode(noise, mel)[0, :samples].cpu().numpy()
    except MelError as error:
        raise MelError(f"{arguments.input}: {error}") from error
    write_speech(arguments.output, audio, vocoder.sample_rate)
    print(f"{arguments.output}: {len(audio) / vocoder.sample_rate:.2f} s")
    return 0


def _load(path: Path, spec: MelSpec) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Noise, mel and length of a latent file, each checked for itself and the spec against the checkpoint's."""
    if not path.exists():
        raise MelError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in FIELDS if name not in archive]
            if missing:
                raise MelError(f"{path}: not a latent file: no {', '.join(missing)} in it")
            noise, mel, samples, own = (archive[name] for name in FIELDS)
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
    for name, array in (("noise", noise), ("mel", mel)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise MelError(f"{path}: {name} holds values that are no finite numbers")
    if samples.ndim or samples.dtype.kind not in "iu" or not 0 < samples <= mel.shape[-1] * spec.hop_length:
        raise MelError(f"{path}: samples is {samples}, expected 1 to {mel.shape[-1] * spec.hop_length}")
    return torch.from_numpy(noise.astype(np.float32)), torch.from_numpy(mel.astype(np.float32)), int(samples)
