"""What a mel spectrogram is: every number that two programs must agree on, and the conventions in use."""

import dataclasses
from typing import Any, Literal

from flowvocoder.errors import ConfigError
from flowvocoder.settings import check_limits, limited, typed

MOST_OVERLAP = 64
"""Frames over one sample: a spectrogram of more would take many times the memory of its audio."""


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Definition of a log-mel spectrogram; `flowvocoder.mel.frontend.MelFrontEnd` computes it.

    Frames are `hop_length` samples apart, and the ends are padded by reflection. `padding="center"` puts frame f around
    sample f * hop_length and gives 1 + T // hop_length frames. `padding="same"` pads (n_fft - hop_length) / 2 samples,
    puts frame f around sample f * hop_length + hop_length / 2 and gives T // hop_length frames.
    """

    sample_rate: int = limited(22050, 8000, 192_000)  # Hz
    n_fft: int = limited(1024, 16, 65536)  # samples
    win_length: int = limited(1024, 2, 65536)  # samples, Hann, periodic
    hop_length: int = limited(256, 1, 32768)  # samples
    n_mels: int = limited(80, 1, 4096)
    fmin: float = 0.0  # Hz
    fmax: float = 8000.0  # Hz
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    padding: Literal["center", "same"] = "center"
    magnitude_eps: float = limited(0.0, 0.0, 1.0)  # sqrt(|X|^2 + magnitude_eps)
    log: Literal["ln", "log10"] = "ln"
    floor: float = limited(1e-5, 1e-20, 1.0)  # log(max(x, floor)); float32 rounds 1e-46 to 0

    def __post_init__(self) -> None:
        check_limits("mel", self)
        bins, nyquist = self.n_fft // 2 + 1, self.sample_rate / 2
        problems = [
            (self.hop_length <= self.n_fft, f"hop_length {self.hop_length} must be at most n_fft {self.n_fft}"),
            (
                self.n_fft <= MOST_OVERLAP * self.hop_length,
                f"n_fft {self.n_fft} must be at most {MOST_OVERLAP} x hop_length {self.hop_length}",
            ),
            (self.win_length <= self.n_fft, f"win_length {self.win_length} must be at most n_fft {self.n_fft}"),
            (self.n_mels <= bins, f"n_mels {self.n_mels} must be at most n_fft / 2 + 1 = {bins}"),
            (
                0 <= self.fmin <= self.fmax - self.n_mels and self.fmax <= nyquist,
                f"fmin {self.fmin:g} and fmax {self.fmax:g} must be from 0 to {nyquist:g} Hz, and at least 1 Hz a band"
                f" apart, n_mels {self.n_mels}",
            ),
        ]
        for ok, message in problems:
            if not ok:
                raise ConfigError(f"mel.{message}")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MelSpec":
        """Raises ConfigError for a key that is missing or unknown."""
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            wrong = set(values) ^ names if isinstance(values, dict) else names
            raise ConfigError(f"mel spec: missing or unknown: {', '.join(sorted(wrong))}")
        try:
            return typed(cls, values)
        except TypeError as error:
            raise ConfigError(f"mel spec: a value has the wrong type ({error})") from error

    def difference(self, other: "MelSpec") -> str:
        """The fields in which two specs differ, for people: "hop_length 300, not 256; log log10, not ln"."""
        mine, theirs = self.to_dict(), other.to_dict()
        return "; ".join(f"{k} {mine[k]}, not {theirs[k]}" for k in mine if mine[k] != theirs[k])

    def name(self) -> str:
        """The convention's name if this is a named one, else "custom"."""
        return next((name for name, spec in CONVENTIONS.items() if spec == self), "custom")


def edge_padding(spec: MelSpec) -> tuple[int, int]:
    """Samples of reflection at the start and the end."""
    if spec.padding == "center":
        return spec.n_fft // 2, spec.n_fft // 2
    total = spec.n_fft - spec.hop_length
    return total // 2, total - total // 2


CONVENTIONS: dict[str, MelSpec] = {
    # Tacotron 2, WaveGlow, FastPitch, FastSpeech 2 (NVIDIA's STFT layer).
    "tacotron2": MelSpec(),
    # HiFi-GAN, BigVGAN at 22.05 kHz.
    "hifigan": MelSpec(padding="same", magnitude_eps=1e-9),
    # Vocos, that is torchaudio's MelSpectrogram with its defaults.
    "vocos": MelSpec(sample_rate=24000, n_mels=100, fmax=12000.0, mel_scale="htk", norm="none", floor=1e-7),
    # ParallelWaveGAN and ESPnet, before their mean-variance normalisation.
    "parallelwavegan": MelSpec(fmin=80.0, fmax=7600.0, log="log10", floor=1e-10),
}


def convention(name: str) -> MelSpec:
    """The named convention. Raises ConfigError that lists the names there are."""
    if name not in CONVENTIONS:
        raise ConfigError(f"unknown mel convention {name!r}: there are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]
