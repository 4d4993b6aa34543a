"""Random training segments, a pure function of (seed, step)."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.files import Samples
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError, FlowVocoderError, MelError, together
from flowvocoder.mel.files import Mel
from flowvocoder.mel.frontend import MelFrontEnd, edge_padding
from flowvocoder.mel.spec import MelSpec
from flowvocoder.progress import progress

SILENT = "digital silence"
"""What is said of a recording of zeros."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Audio (B, T), its mel (B, n_mels, T / hop_length), and where each item comes from."""

    audio: Tensor
    mel: Tensor
    ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording that segments can be cut from."""

    id: str
    padded: Samples  # with the reflection at its ends, so that a segment's mel equals those frames of the whole mel
    mel: Mel | None  # given for it; None: the audio's own
    step: int  # samples between places where a segment may begin
    starts: int  # how many such places


class Cutter:
    """Cuts segments of a whole number of frames out of recordings, with their mels.

    They begin at any sample, and the mel is that of the audio from there. Where frames and blocks lie in a recording is
    chance; a model that always sees them in one place overfits to it. A mel that is given has fixed frames.

    Args:
        spec: of the mels.
        segment: samples of a segment; rounded down to whole frames.

    Attributes:
        changes: what was done to recordings that were read, or `SILENT`, and to how many.
    """

    def __init__(self, spec: MelSpec, segment: int):
        self.spec = spec
        self.frames = segment // spec.hop_length
        self.segment = self.frames * spec.hop_length
        self.front_end = MelFrontEnd(spec)
        self.left, self.right = edge_padding(spec)
        self.shortest = max(self.segment, self.left + 1)
        self.changes: Counter[str] = Counter()

    def clip(self, utterance: Utterance) -> Clip | None:
        """The recording, read; None if it is shorter than a segment. Raises AudioError or MelError."""
        recording = utterance.recording(self.spec.sample_rate)
        samples = recording.samples
        self.changes.update(recording.changes if samples.any() else [SILENT])
        mel = utterance.read_mel(self.spec, len(samples))
        if len(samples) < self.shortest:
            return None
        whole = len(samples) // self.spec.hop_length
        step = 1 if mel is None else self.spec.hop_length
        starts = (whole - self.frames) * self.spec.hop_length // step + 1
        if mel is not None:  # some toolkits leave the last frame out
            mel = np.pad(mel, ((0, 0), (0, max(0, whole - mel.shape[1]))), mode="edge")
        return Clip(utterance.id, np.pad(samples, (self.left, self.right), mode="reflect"), mel, step, starts)

    def batch(self, drawn: Sequence[tuple[Clip, int]]) -> Batch:
        """The segments that begin at the given places."""
        span = self.segment + self.spec.n_fft - self.spec.hop_length
        begins = [at * clip.step for clip, at in drawn]
        cut = [clip.padded[begin : begin + span] for (clip, _), begin in zip(drawn, begins, strict=True)]
        padded = torch.from_numpy(np.stack(cut))
        audio = padded[:, self.left : self.left + self.segment]
        mel = self.front_end.frames(padded)
        for row, (clip, at) in enumerate(drawn):
            if clip.mel is not None:
                mel[row] = torch.from_numpy(clip.mel[:, at : at + self.frames])
        return Batch(audio, mel, tuple(clip.id for clip, _ in drawn))

    def none_long_enough(self, recordings: int) -> AudioError:
        """The error to raise then."""
        return AudioError(
            f"none of {recordings} recordings is as long as a segment of {self.segment} samples"
            f" ({self.segment / self.spec.sample_rate:.2f} s): record longer ones or set a smaller segment"
        )


class SegmentSampler:
    """Draws segments from recordings held in memory, in proportion to their length.

    Args:
        utterances: what to draw from; those shorter than a segment are left out (`skipped`).
        spec, segment: as `Cutter`.

    Raises:
        AudioError, MelError: unreadable files, all of them, or none long enough.
    """

    def __init__(self, utterances: Sequence[Utterance], spec: MelSpec, segment: int, seed: int = 0):
        self.cutter = Cutter(spec, segment)
        self.seed = seed
        self.clips: list[Clip] = []
        self.skipped: list[str] = []
        errors: list[FlowVocoderError] = []
        for utterance in progress(utterances, "reading", "file"):
            try:
                clip = self.cutter.clip(utterance)
            except (AudioError, MelError) as error:
                errors.append(error)
                continue
            if clip is None:
                self.skipped.append(utterance.id)
            else:
                self.clips.append(clip)
        if errors:
            raise together(errors, f"of {len(utterances)} recordings to train on cannot be used")
        if not self.clips:
            raise self.cutter.none_long_enough(len(utterances))
        self.changes = self.cutter.changes
        self.samples = sum(len(c.padded) - self.cutter.left - self.cutter.right for c in self.clips)
        self.starts = np.array([c.starts for c in self.clips])
        places = self.starts * np.array([c.step for c in self.clips])
        self.probability = places / places.sum()

    def batch(self, step: int, size: int, part: slice = slice(None)) -> Batch:
        """The batch of a training step: the same for the same (seed, step), whatever was drawn before.

        Args:
            part: of the `size` items, those to make.
        """
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.clips), size=size, p=self.probability)
        starts = rng.integers(self.starts[chosen])[part]
        return self.cutter.batch([(self.clips[i], int(at)) for i, at in zip(chosen[part], starts, strict=True)])
