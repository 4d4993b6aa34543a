"""Mels of one convention for a voice of another: what differs is undone exactly, or the mel is refused."""

import dataclasses
import math

import torch
from torch import Tensor

from flowvocoder.errors import MelError
from flowvocoder.mel.frontend import edge_padding
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention

SAME_SOUND = "sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax", "mel_scale", "norm"
"""Fields in which two conventions must agree: the rest is numbers and places, and can be exchanged."""

SMALL_EPS = 1e-8
"""Largest `magnitude_eps` that is passed over: it changes a magnitude by 1e-4 at most, in silence."""


@dataclasses.dataclass(frozen=True)
class MelConversion:
    """From mels in the convention `given` to those that a voice of the convention `wanted` takes.

    A logarithm is scaled. What lies below the wanted floor is raised to it. Frames that lie half a hop later or earlier
    stay what they are, and the audio is moved: one frame more is synthesised, and what it has too much is cut off.

    Raises:
        MelError: the two differ in more; the message names it.

    Example:
        >>> conversion = MelConversion(convention("hifigan"), convention("tacotron2"))
        >>> conversion.mel(torch.full((1, 80, 10), -3.0)).shape
        torch.Size([1, 80, 11])
        >>> conversion.audio().take(torch.zeros(1, 11 * 256), frames=10).shape
        torch.Size([1, 2560])
    """

    given: MelSpec
    wanted: MelSpec

    def __post_init__(self) -> None:
        given, wanted = self.given, self.wanted
        differ = [f"{k} {getattr(given, k)}, not {getattr(wanted, k)}" for k in SAME_SOUND
                  if getattr(given, k) != getattr(wanted, k)]  # fmt: skip
        if max(given.magnitude_eps, wanted.magnitude_eps) > SMALL_EPS and given.magnitude_eps != wanted.magnitude_eps:
            differ.append(f"magnitude_eps {given.magnitude_eps:g}, not {wanted.magnitude_eps:g}")
        if differ:
            raise MelError(f"a {given.name()} mel does not fit a voice of {wanted.name()} mels: {'; '.join(differ)}")

    @property
    def later(self) -> int:
        """Samples by which a given frame lies after the same wanted one; negative if before."""
        return edge_padding(self.wanted)[0] - edge_padding(self.given)[0]

    def mel(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, n_mels, F) as the voice takes it; one frame longer if frames lie elsewhere.

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

    def lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Those of the items of `mel`, (B,)."""
        return None if lengths is None else lengths + int(self.later != 0)

    def values(self, mel: Tensor) -> Tensor:
        """The same frames in the wanted logarithm, not below the wanted floor."""
        if self.given.log == self.wanted.log and self.given.floor >= self.wanted.floor:
            return mel
        unit = {"ln": 1.0, "log10": math.log(10.0)}
        factor = unit[self.given.log] / unit[self.wanted.log]
        return (mel * factor).clamp_min(math.log(self.wanted.floor) / unit[self.wanted.log])

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


def served(spec: MelSpec) -> list[str]:
    """Names of the conventions whose mels a voice of `spec` takes."""
    names = []
    for name, other in CONVENTIONS.items():
        try:
            MelConversion(other, spec)
        except MelError:
            continue
        names.append(name)
    return names


def as_spec(name: str | MelSpec | None, own: MelSpec) -> MelSpec:
    """A definition, by its name, or `own` for None. Raises ConfigError for an unknown name."""
    return own if name is None else convention(name) if isinstance(name, str) else name
