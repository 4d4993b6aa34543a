"""What a mel spectrogram is: every number that two programs must agree on, and the conventions in use."""

import dataclasses
from typing import Any, Literal

from flowvocoder.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Definition of a log-mel spectrogram; `flowvocoder.mel.frontend.MelFrontEnd` computes it.

    Frames are `hop_length` samples apart, and the ends are padded by reflection. `padding="center"` puts frame f around
    sample f * hop_length and gives 1 + T // hop_length frames. `padding="same"` pads (n_fft - hop_length) / 2 samples,
    puts frame f around sample f * hop_length + hop_length / 2 and gives T // hop_length frames.
    """

    sample_rate: int = 22050  # Hz
    n_fft: int = 1024  # samples
    win_length: int = 1024  # samples, Hann, periodic
    hop_length: int = 256  # samples
    n_mels: int = 80
    fmin: float = 0.0  # Hz
    fmax: float = 8000.0  # Hz
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    padding: Literal["center", "same"] = "center"
    magnitude_eps: float = 0.0  # sqrt(|X|^2 + magnitude_eps)
    log: Literal["ln", "log10"] = "ln"
    floor: float = 1e-5  # log(max(x, floor))

    def __post_init__(self) -> None:
        problems = [
            (self.sample_rate > 0, f"sample_rate must be positive, not {self.sample_rate}"),
            (0 < self.hop_length <= self.n_fft, f"hop_length must be in 1..n_fft={self.n_fft}, not {self.hop_length}"),
            (0 < self.win_length <= self.n_fft, f"win_length must be in 1..n_fft={self.n_fft}, not {self.win_length}"),
            (
                0 < self.n_mels <= self.n_fft // 2 + 1,
                f"n_mels must be in 1..n_fft / 2 + 1 = {self.n_fft // 2 + 1}, not {self.n_mels}",
            ),
            (
                0 <= self.fmin < self.fmax <= self.sample_rate / 2,
                f"0 <= fmin < fmax <= {self.sample_rate / 2:g} Hz does not hold for {self.fmin:g} and {self.fmax:g}",
            ),
            (self.magnitude_eps >= 0, f"magnitude_eps must be 0 or above, not {self.magnitude_eps}"),
            (self.floor > 0, f"floor must be positive, not {self.floor}"),
            (self.mel_scale in ("slaney", "htk"), f"mel_scale must be slaney or htk, not {self.mel_scale}"),
            (self.norm in ("slaney", "none"), f"norm must be slaney or none, not {self.norm}"),
            (self.padding in ("center", "same"), f"padding must be center or same, not {self.padding}"),
            (self.log in ("ln", "log10"), f"log must be ln or log10, not {self.log}"),
        ]
        for ok, message in problems:
            if not ok:
                raise ConfigError(f"mel spec: {message}")

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
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"mel spec: a value has the wrong type ({error})") from error

    def difference(self, other: "MelSpec") -> str:
        """The fields in which two specs differ, for people: "hop_length 300, not 256; log log10, not ln"."""
        mine, theirs = self.to_dict(), other.to_dict()
        return "; ".join(f"{k} {mine[k]}, not {theirs[k]}" for k in mine if mine[k] != theirs[k])

    def name(self) -> str:
        """The convention's name if this is a named one, else "custom"."""
        return next((name for name, spec in CONVENTIONS.items() if spec == self), "custom")


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
