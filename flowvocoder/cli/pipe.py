"""From a pipe to a pipe, as it comes: what `synth --stream` and `stream-resynth` do."""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowvocoder.cli.common import as_array, iterations, load_vocoder, say_clipped
from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.units import seconds

if TYPE_CHECKING:
    import torch

    from flowvocoder.streaming.stream import Stream
    from flowvocoder.vocoder import Vocoder


def stream_mel(arguments: argparse.Namespace) -> int:
    """Frames of n_mels float32 numbers, in this machine's byte order, to 16-bit mono PCM at the checkpoint's rate."""
    import numpy as np

    if arguments.paths:
        raise ConfigError(
            f"--stream reads standard input and writes standard output: no PATH like {arguments.paths[0]}"
        )
    vocoder, stream = _begin(arguments, arguments.trust_mel)
    bands = vocoder.spec.n_mels
    with _Output(vocoder) as output:
        pipe = _Input(4 * bands, arguments.chunk)
        try:
            for data in pipe.chunks():
                output.write(stream.push(np.frombuffer(data, np.float32).reshape(-1, bands).T))
            output.write(stream.flush())
        except MelError as error:
            raise MelError(f"standard input: {error}") from error
    if pipe.left or not pipe.size:
        raise MelError(f"standard input: {pipe.size} bytes are no whole frames of {bands} float32 ({4 * bands} bytes)")
    return 0


def stream_audio(arguments: argparse.Namespace) -> int:
    """16-bit mono PCM at the checkpoint's rate to its mel, and that to PCM of the same length."""
    import numpy as np

    from flowvocoder.audio.pcm16 import from_pcm16

    vocoder, stream = _begin(arguments, trust_mel=True)
    mels = vocoder.mel_stream()
    with _Output(vocoder) as output:
        pipe = _Input(2, arguments.chunk * vocoder.spec.hop_length)
        for data in pipe.chunks():
            samples = from_pcm16(np.frombuffer(data, np.int16))
            output.limit += len(samples)
            output.write(stream.push(mels.push(samples)))
        output.write(stream.push(mels.flush()))
        output.write(stream.flush())
    if pipe.left:
        raise AudioError(f"standard input: {pipe.size} bytes are no whole 16-bit samples")
    return 0


def _begin(arguments: argparse.Namespace, trust_mel: bool) -> "tuple[Vocoder, Stream]":
    if not 1 <= arguments.chunk <= 100_000:
        raise ConfigError(f"--chunk must be from 1 to 100000 frames, not {arguments.chunk}")
    if sys.stdin.isatty() or sys.stdout.isatty():
        raise ConfigError("standard input and output must be pipes or files, not a terminal")
    if getattr(sys.stdout, "name", "") == os.devnull:
        raise ConfigError("standard output is closed: the audio would be lost")
    if getattr(arguments, "denoise", 0.0):
        raise ConfigError("--denoise works on whole utterances: not with --stream")
    given = iterations(arguments)
    vocoder = load_vocoder(arguments)
    given |= {"trust_mel": trust_mel, "convention": getattr(arguments, "convention", None)}
    stream = vocoder.stream(arguments.temperature, arguments.seed, **given)
    print(f"look-ahead {1000 * stream.seconds_behind:.0f} ms; {vocoder.sample_rate} Hz, mono", file=sys.stderr)
    return vocoder, stream


class _Input:
    """Standard input in whole units.

    Args:
        unit: bytes.
        count: units at a time, fewer only at the end.

    Attributes:
        size: bytes read so far; left: bytes at the end that are no whole unit.
    """

    def __init__(self, unit: int, count: int):
        self._unit, self._count = unit, count
        self.size = self.left = 0

    def chunks(self) -> Iterator[bytes]:
        while data := sys.stdin.buffer.read(self._unit * self._count):
            self.size += len(data)
            self.left = len(data) % self._unit
            yield data[: len(data) - self.left]


class _Output:
    """Standard output as PCM16; says at the end how much it was."""

    def __init__(self, vocoder: "Vocoder"):
        self._rate = vocoder.sample_rate
        self._clipped = self._written = 0
        self.limit = 0  # samples, 0 for none

    def __enter__(self) -> "_Output":
        return self

    def write(self, samples: "torch.Tensor") -> None:
        from flowvocoder.audio.pcm16 import to_pcm16

        if self.limit:
            samples = samples[: self.limit - self._written]
        pcm, clipped = to_pcm16(as_array(samples))
        sys.stdout.buffer.write(pcm.tobytes())
        sys.stdout.buffer.flush()
        self._clipped += clipped
        self._written += len(pcm)

    def __exit__(self, *exception: object) -> None:
        say_clipped("standard output", self._clipped, self._written)
        print(f"{seconds(self._written, self._rate):.2f} s", file=sys.stderr)
