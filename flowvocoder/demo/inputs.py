"""What visitors give the demo: read with limits, and refused in a sentence that shows no path of the server."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from flowvocoder.audio.files import Recording, read_as_stored, read_audio
from flowvocoder.errors import AudioError, ConfigError, FlowVocoderError, MelError
from flowvocoder.mel.files import read_mel
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.units import seconds
from flowvocoder.web.bodies import LONGEST


@contextmanager
def nameless(path: Path) -> Iterator[None]:
    """Errors name the file, not where on the server it lies."""
    try:
        yield
    except FlowVocoderError as error:
        raise type(error)(str(error).replace(str(path), path.name)) from error


def recording(path: str | None, spec: MelSpec) -> Recording:
    """A recording at the mel's rate.

    Raises:
        AudioError: none given, unreadable, too long, or too short for a mel.
    """
    if not path:
        raise AudioError("Choose a recording first: upload one, record one, or take an example")
    file = Path(path)
    with nameless(file):
        read = read_audio(file, spec.sample_rate, longest=LONGEST)
        have, need = len(read.samples), max(edge_padding(spec)) + 1
        if have < need:
            times = [seconds(samples, spec.sample_rate) for samples in (have, need)]
            raise AudioError(f"{file}: lasts {times[0]:.3f} s, at least {times[1]:.3f} s are needed")
    return read


def recording_as_stored(path: str | None) -> Recording:
    """A recording at its own rate. Raises AudioError: none given, unreadable, or too long."""
    if not path:
        raise AudioError("Choose a recording first: upload one, record one, or take an example")
    with nameless(Path(path)):
        return read_as_stored(Path(path), longest=LONGEST)


def mel(path: str | None, spec: MelSpec, trust: bool) -> torch.Tensor:
    """A mel (n_mels, F) from a `.npy`, `.npz` or `.pt` file.

    Raises:
        MelError: none given, unreadable, too long, or not what the model understands.
    """
    if not path:
        raise MelError("Choose a mel file first: drop one, or take the example")
    file = Path(path)
    with nameless(file):
        return torch.from_numpy(read_mel(file, spec, trust, int(LONGEST * spec.sample_rate / spec.hop_length)))


def whole(what: str, number: float, most: int, least: int = 0) -> int:
    """A whole number within limits. Raises ConfigError for another one."""
    if not (math.isfinite(number) and least <= number <= most and float(number).is_integer()):
        raise ConfigError(f"{what} must be a whole number from {least} to {most}, not {number}")
    return int(number)


def seed(number: float) -> int:
    """A seed. Raises ConfigError."""
    return whole("the seed", number, 2**53)
