"""Mels of speech, and noise that does not have them."""

from collections.abc import Iterator

import torch
from helpers import speech_like
from torch import Tensor

from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.stages import Stage

FRAMES = 60
ODD = MelSpec.from_dict({**vars(convention("tacotron2")), "hop_length": 300, "win_length": 800})


def pair(spec: MelSpec, items: int = 2) -> tuple[Tensor, Tensor]:
    """The mel (B, n_mels, FRAMES) of speech, and noise (B, T) that does not have it."""
    samples = FRAMES * spec.hop_length
    speech = torch.from_numpy(speech_like(samples / spec.sample_rate + 1.0, spec.sample_rate)).double()
    speech = torch.stack([speech[at : at + samples] for at in range(0, 500 * items, 500)])
    noise = 0.05 * torch.randn(items, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return MelFrontEnd(spec).double()(speech)[..., :FRAMES], noise


def in_pieces(stage: Stage, mel: Tensor, audio: Tensor, seed: int, hop: int) -> tuple[Tensor, int]:
    """What comes out of pushes of random sizes, and by how many samples it was late at most."""
    parts, at, frame, late = [], 0, 0, 0
    for samples, frames in sizes(seed):
        parts.append(stage.push(mel[..., frame : frame + frames], audio[:, at : at + samples]))
        at, frame = at + samples, frame + frames
        late = max(late, min(at, frame * hop) - sum(part.shape[1] for part in parts))
    parts.append(stage.push(mel[..., frame:], audio[:, at:], ends=True))
    return torch.cat(parts, 1), late


def sizes(seed: int) -> Iterator[tuple[int, int]]:
    """Samples and frames of pushes, the mel ahead of the audio as in synthesis or behind it."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(12):
        samples, frames = torch.randint(0, 1500, (2,), generator=generator).tolist()
        yield samples, frames // 280


def distance(audio: Tensor, mel: Tensor, spec: MelSpec, bands: int | None = None) -> float:
    """Mean absolute difference of the audio's mel to another, in the lowest `bands`, away from the ends."""
    difference = MelFrontEnd(spec).double()(audio)[..., :FRAMES] - mel
    return float(difference[:, :bands, 6 : FRAMES - 6].abs().mean())
