"""Mels of one convention for a voice of another: exactly where both are of one spectrogram, else approximately."""

import dataclasses
import functools
import math

import torch
from torch import Tensor

from flowvocoder.errors import MelError
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.frontend import band_centres, interpolation, mel_filterbank
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, edge_padding
from flowvocoder.mel.toolkits import TOOLKITS, Toolkit, toolkit

GRID = "sample_rate", "hop_length"
"""Fields in which two conventions must agree."""

SPECTROGRAM = "n_fft", "win_length", "n_mels", "fmin", "fmax", "mel_scale", "norm"
"""Where they agree in these, too, the rest is numbers and places, and can be exchanged exactly."""

SMALL_EPS = 1e-8
"""Largest `magnitude_eps` that is passed over: it changes a magnitude by 1e-4 at most, in silence."""

ROUNDS = 8
"""Of the search for a spectrum that has a given mel. More bring it no nearer to the other convention's."""

LOWEST = 40.0
"""Hz: what lies below the lowest filter of a mel that begins higher is unknown ..."""

BELOW = -1.5
"""... and taken to be so many nats under it, as it is in recordings (0 to -2.8)."""

SMALLEST = 1e-10
"""Magnitude that stands for zero."""


@dataclasses.dataclass(frozen=True)
class MelConversion:
    """From a program's numbers to what a voice of the convention `wanted` takes.

    A shift and scale are undone and a logarithm is exchanged. What lies below the wanted floor is raised to it. Frames
    that lie half a hop later or earlier stay what they are, and the audio is moved: one frame more is synthesised, and
    what it has too much is cut off.

    Where the spectrograms differ, the flow gets an approximate mel: that of a smooth spectrum which has the given one.
    The post-filter then brings the audio to the given mel itself, by its own filters.

    Args:
        source: whose numbers they are.
        wanted: the voice's convention.

    Raises:
        MelError: sample rate or hop differ; the message names them.

    Example:
        >>> conversion = MelConversion(toolkit("hifigan"), toolkit("tacotron2").spec)
        >>> conversion.mel(torch.full((1, 80, 10), -3.0)).shape
        torch.Size([1, 80, 11])
        >>> conversion.audio().take(torch.zeros(1, 11 * 256), frames=10).shape
        torch.Size([1, 2560])
    """

    source: Toolkit
    wanted: MelSpec

    def __post_init__(self) -> None:
        if differ := self._differences(GRID):
            name = self.given.name()
            raise MelError(f"a {name} mel does not fit a voice of {self.wanted.name()} mels: {'; '.join(differ)}")

    @property
    def given(self) -> MelSpec:
        """The convention of the numbers once they are undone."""
        return self.source.spec

    @property
    def exact(self) -> bool:
        """Whether the flow gets what it was trained on."""
        eps = self.given.magnitude_eps, self.wanted.magnitude_eps
        return not self._differences(SPECTROGRAM) and (max(eps) <= SMALL_EPS or eps[0] == eps[1])

    @property
    def heard(self) -> MelSpec:
        """The convention of `mel`, which the post-filter goes by."""
        return self.wanted if self.exact else dataclasses.replace(self.given, padding=self.wanted.padding)

    def _differences(self, fields: tuple[str, ...]) -> list[str]:
        given, wanted = self.given, self.wanted
        pairs = ((field, getattr(given, field), getattr(wanted, field)) for field in fields)
        return [f"{field} {mine}, not {theirs}" for field, mine, theirs in pairs if mine != theirs]

    @property
    def later(self) -> int:
        """Samples by which a given frame lies after the same wanted one; negative if before."""
        given, wanted = (spec.n_fft // 2 - edge_padding(spec)[0] for spec in (self.given, self.wanted))
        return given - wanted

    def mel(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, n_mels, F) of `given` as the post-filter takes it; one frame longer if frames lie elsewhere.

        Args:
            lengths: frames of each item, (B,), where the others are padding.
        """
        mel = self.values(mel)
        if self.later == 0:
            return mel
        last = (torch.tensor([mel.shape[2]]) if lengths is None else lengths).to(mel.device)[:, None] - 1
        index = torch.arange(mel.shape[2] + 1, device=mel.device) - int(self.later > 0)
        index = index.clamp_min(0).minimum(last).expand(len(mel), -1)
        return torch.take_along_dim(mel, index[:, None], 2)

    def for_flow(self, mel: Tensor) -> Tensor:
        """Frames of `mel`, (B, n_mels, F), as the flow takes them: the same where the conversion is exact.

        From the interpolated envelope on, bins are scaled towards the mel that is given. The wanted mel of what results
        is .08 nats from the true one for `parallelwavegan` (mean over seven recordings).
        """
        if self.exact:
            return mel
        given, wanted, to_bins = (matrix.to(mel) for matrix in _approximation(self.given, self.wanted))
        level = mel * _nats(self.given)
        spectrum = (to_bins @ (level - given.sum(1).clamp_min(SMALLEST).log()[:, None])).exp()
        for _ in range(ROUNDS):
            spectrum = spectrum * (to_bins @ (level - (given @ spectrum).clamp_min(SMALLEST).log())).exp()
        return (wanted @ spectrum).clamp_min(self.wanted.floor).log() / _nats(self.wanted)

    def lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Those of the items of `mel`, (B,)."""
        return None if lengths is None else lengths + int(self.later != 0)

    def values(self, mel: Tensor) -> Tensor:
        """The same frames in the logarithm of `heard`, not below its floor."""
        given, heard = self.given, self.heard
        if given.log == heard.log and given.floor >= heard.floor:
            return mel
        return (mel * (_nats(given) / _nats(heard))).clamp_min(math.log(heard.floor) / _nats(heard))

    def audio(self, lengths: Tensor | None = None) -> "MovedAudio":
        """What cuts the audio of the longer mel.

        Args:
            lengths: frames given of each item, (B,); None where all are as long.
        """
        return MovedAudio(-self.later % self.wanted.hop_length, self.wanted.hop_length, lengths)


class MovedAudio:
    """Audio without its first samples, and as long as the frames that were given.

    Args:
        first: samples that are left out.
        hop: samples a frame.
        lengths: frames of each item, (B,), after which all is zero; None where all are as long.
    """

    def __init__(self, first: int, hop: int, lengths: Tensor | None = None):
        self._first, self._hop, self._lengths = first, hop, lengths
        self._out = 0

    def take(self, audio: Tensor, frames: int) -> Tensor:
        """The next samples (B, T) -> those of them that stay, (B, T'), where `frames` were given so far."""
        left_out = min(self._first, audio.shape[1])
        self._first -= left_out
        audio = audio[:, left_out : left_out + max(0, frames * self._hop - self._out)]
        if self._lengths is not None:
            place = torch.arange(self._out, self._out + audio.shape[1], device=audio.device)
            audio = audio * (place < self._hop * self._lengths[:, None]).to(audio.dtype)
        self._out += audio.shape[1]
        return audio


def served(spec: MelSpec, exactly: bool = True) -> list[str]:
    """Names of the conventions and toolkits whose mels a voice of `spec` takes: exactly, or only approximately."""
    names = []
    for name in (*CONVENTIONS, *TOOLKITS):
        try:
            conversion = MelConversion(toolkit(name), spec)
        except MelError:
            continue
        if conversion.exact == exactly:
            names.append(name)
    return names


def as_source(given: "str | MelSpec | Toolkit | None", own: MelSpec) -> Toolkit:
    """Whose numbers they are: by a name, a definition, or `own` for None. Raises ConfigError for an unknown name."""
    if isinstance(given, Toolkit):
        return given
    return toolkit(given) if isinstance(given, str) else Toolkit(own if given is None else given)


def _nats(spec: MelSpec) -> float:
    """One unit of the convention's logarithm."""
    return math.log(10.0) if spec.log == "log10" else 1.0


@functools.lru_cache(maxsize=8)
@plain_defaults()
def _approximation(given: MelSpec, wanted: MelSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Filters of both over the bins of `wanted`, (n_mels, K), and what interpolates given bands there, (K, n_mels)."""
    # Windows of another length show noise at another level, transforms of another length in more or fewer bins.
    scale = given.n_fft / wanted.n_fft * math.sqrt(given.win_length / wanted.win_length)
    same_bins = dataclasses.replace(given, n_fft=wanted.n_fft, win_length=wanted.win_length)
    hz = torch.linspace(0.0, wanted.sample_rate / 2, wanted.n_fft // 2 + 1)
    to_bins = interpolation(band_centres(given), hz).T.contiguous()
    below = torch.where((hz < given.fmin) & (given.fmin > LOWEST), math.exp(BELOW), 1.0)
    return scale * mel_filterbank(same_bins), mel_filterbank(wanted) * below, to_bins
