"""Random training segments, a pure function of (seed, step)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio import Samples, read_audio
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError
from flowvocoder.mel.frontend import MelFrontEnd, edge_padding
from flowvocoder.mel.spec import MelSpec
from flowvocoder.progress import progress


@dataclasses.dataclass(frozen=True)
class Batch:
    """Audio (B, T), its mel (B, n_mels, T / hop_length), and where each item comes from."""

    audio: Tensor
    mel: Tensor
    ids: tuple[str, ...]


class SegmentSampler:
    """Draws segments of a whole number of frames, utterances in proportion to their length.

    Recordings are held in memory with the reflection at their ends, so that the mel of a segment equals the same
    frames of the whole recording's mel.

    Args:
        utterances: what to draw from; those shorter than a segment are left out (`skipped`).
        spec: the mel to compute.
        segment: samples of a segment; rounded down to whole frames.

    Raises:
        AudioError: an unreadable file, or none long enough.
    """

    def __init__(self, utterances: Sequence[Utterance], spec: MelSpec, segment: int, seed: int = 0):
        self.spec = spec
        self.frames = segment // spec.hop_length
        self.segment = self.frames * spec.hop_length
        self.seed = seed
        self.front_end = MelFrontEnd(spec)
        self.left, self.right = edge_padding(spec)
        self.ids: list[str] = []
        self.padded: list[Samples] = []
        self.skipped: list[str] = []
        self.samples = 0
        for utterance in progress(utterances, "reading", "file"):
            samples = read_audio(utterance.path, spec.sample_rate).samples
            if len(samples) < max(self.segment, self.left + 1):
                self.skipped.append(utterance.id)
                continue
            self.ids.append(utterance.id)
            self.padded.append(np.pad(samples, (self.left, self.right), mode="reflect"))
            self.samples += len(samples)
        if not self.ids:
            raise AudioError(
                f"none of {len(utterances)} recordings is as long as a segment of {self.segment} samples"
                f" ({self.segment / spec.sample_rate:.2f} s): record longer ones or set a smaller segment"
            )
        starts = np.array(
            [(len(p) - self.left - self.right - self.segment) // spec.hop_length + 1 for p in self.padded]
        )
        self.starts = starts
        self.probability = starts / starts.sum()

    def batch(self, step: int, size: int, part: slice = slice(None)) -> Batch:
        """The batch of a training step: the same for the same (seed, step), whatever was drawn before.

        Args:
            part: of the `size` items, those to make.
        """
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.ids), size=size, p=self.probability)
        span = self.segment + self.spec.n_fft - self.spec.hop_length
        starts = rng.integers(self.starts[chosen])[part] * self.spec.hop_length
        chosen = chosen[part]
        chunks = [self.padded[i][start : start + span] for i, start in zip(chosen, starts, strict=True)]
        padded = torch.from_numpy(np.stack(chunks))
        audio = padded[:, self.left : self.left + self.segment]
        return Batch(audio, self.front_end.frames(padded), tuple(self.ids[i] for i in chosen))
