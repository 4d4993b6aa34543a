"""Random training segments, a pure function of (seed, step)."""

import abc
import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.files import Recording, Samples
from flowvocoder.config import AS_IT_IS, DataSettings
from flowvocoder.data.augment import Augmenter, Source
from flowvocoder.data.balance import weights
from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError, FlowVocoderError, MelError, together
from flowvocoder.mel.files import Mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, edge_padding
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
class Cuts:
    """The same before mels are computed.

    Attributes:
        padded: audio with the context that its mel needs, (B, T + n_fft - hop_length).
        given: mels (n_mels, F) that come with items, by their place in the batch.
        ids: where each item comes from.
    """

    padded: Tensor
    given: dict[int, Tensor]
    ids: tuple[str, ...]

    def pin_memory(self) -> "Cuts":
        """In memory from which a GPU copies while the CPU goes on; `DataLoader` calls it."""
        return Cuts(self.padded.pin_memory(), self.given, self.ids)

    def to(self, device: torch.device) -> "Cuts":
        """On a device."""
        given = {row: mel.to(device) for row, mel in self.given.items()}
        return Cuts(self.padded.to(device, non_blocking=True), given, self.ids)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording that segments can be cut from."""

    id: str
    voice: str  # who speaks, among all corpora
    samples: int  # at the spec's rate
    audio: (
        Samples | Source
    )  # with reflections at its ends, so that a segment's mel equals those frames of the whole mel
    mel: Mel | None  # given for it; None: the audio's own
    step: int  # samples between places where a segment may begin
    starts: int  # how many such places


@dataclasses.dataclass(frozen=True)
class Draw:
    """One item of a batch: its recording, which of the places to begin at, and where its randomness comes from."""

    clip: Clip
    at: int
    key: tuple[int, ...]


class Cutter:
    """Cuts segments of a whole number of frames out of recordings, with their mels.

    They begin at any sample, and the mel is that of the audio from there. Where frames and blocks lie in a recording is
    chance; a model that always sees them in one place overfits to it. A mel that is given has fixed frames.

    Args:
        spec: of the mels.
        segment: samples of a segment; rounded down to whole frames.
        data: how segments are altered, but for those of a recording that comes with a mel.

    Attributes:
        changes: what was done to recordings that were read, or `SILENT`, and to how many.
    """

    def __init__(
        self,
        spec: MelSpec,
        segment: int,
        data: DataSettings = AS_IT_IS,
    ):
        self.spec = spec
        self.frames = segment // spec.hop_length
        self.segment = self.frames * spec.hop_length
        self.front_end = MelFrontEnd(spec)
        self.left, self.right = edge_padding(spec)
        self.shortest = max(self.segment, self.left + 1)
        self.changes: Counter[str] = Counter()
        self.augmenter: Augmenter | None = None
        if data.augment.alters or data.band != "keep":
            self.augmenter = Augmenter(spec, self.segment, data)

    def clip(self, utterance: Utterance) -> Clip | None:
        """The recording, read; None if it is shorter than a segment. Raises AudioError or MelError."""
        if self.augmenter is not None and not utterance.mel_is_given:
            return self._to_alter(utterance, self.augmenter)
        recording = utterance.recording(self.spec.sample_rate)
        samples = recording.samples
        self._count(recording)
        mel = utterance.read_mel(self.spec, len(samples))
        if len(samples) < self.shortest:
            return None
        whole = len(samples) // self.spec.hop_length
        step = 1 if mel is None else self.spec.hop_length
        if mel is not None:  # some toolkits leave the last frame out
            mel = np.pad(mel, ((0, 0), (0, max(0, whole - mel.shape[1]))), mode="edge")
        padded = np.pad(samples, (self.left, self.right), mode="reflect")
        return self._clip(utterance, len(samples), padded, mel, step)

    def _to_alter(self, utterance: Utterance, augmenter: Augmenter) -> Clip | None:
        stored = utterance.stored()
        self._count(stored)
        samples = len(stored.samples) * self.spec.sample_rate // stored.sample_rate
        if samples < self.shortest:
            return None
        source = augmenter.source(stored)
        if augmenter.is_cut_off(source):
            self.changes[f"cut off above what mels show: low-passed at {augmenter.shown:.0f} Hz"] += 1
        return self._clip(utterance, samples, source, None, 1)

    def _clip(self, utterance: Utterance, samples: int, audio: Samples | Source, mel: Mel | None, step: int) -> Clip:
        starts = (samples // self.spec.hop_length - self.frames) * self.spec.hop_length // step + 1
        return Clip(utterance.id, utterance.voice, samples, audio, mel, step, starts)

    def _count(self, recording: Recording) -> None:
        self.changes.update(recording.changes if recording.samples.any() else [SILENT])

    def cut(self, drawn: Sequence[Draw]) -> Cuts:
        """The segments that begin at the given places."""
        padded = torch.from_numpy(np.stack([self._cut(draw) for draw in drawn]))
        given = {
            row: torch.from_numpy(draw.clip.mel[:, draw.at : draw.at + self.frames])
            for row, draw in enumerate(drawn)
            if draw.clip.mel is not None
        }
        return Cuts(padded, given, tuple(draw.clip.id for draw in drawn))

    def with_mels(self, cuts: Cuts) -> Batch:
        """The batch of these segments, on the device where they and the front end are."""
        mel = self.front_end.frames(cuts.padded)
        for row, own in cuts.given.items():
            mel[row] = own
        return Batch(cuts.padded[:, self.left : self.left + self.segment], mel, cuts.ids)

    def _cut(self, draw: Draw) -> Samples:
        """A segment with the context that its mel needs."""
        clip = draw.clip
        if isinstance(clip.audio, Source):
            assert self.augmenter is not None
            return self.augmenter(clip.audio, draw.at / clip.starts, np.random.default_rng(draw.key))
        begin = draw.at * clip.step
        return clip.audio[begin : begin + self.segment + self.spec.n_fft - self.spec.hop_length]

    def none_long_enough(self, recordings: int) -> AudioError:
        """The error to raise then."""
        return AudioError(
            f"none of {recordings} recordings is as long as a segment of {self.segment} samples"
            f" ({self.segment / self.spec.sample_rate:.2f} s): record longer ones or set a smaller segment"
        )


class Sampler(abc.ABC):
    """Where a trainer gets its batches from.

    Attributes:
        cutter: cuts the segments and computes their mels.
        samples: of audio there are to draw from.
        voices: speakers there are to draw from; 0: not known.
        skipped: recordings shorter than a segment.
        changes: what was done to recordings on reading, and to how many; none where shards were prepared.
    """

    cutter: Cutter
    samples: int
    voices: int
    skipped: list[str]
    changes: Counter[str]

    @abc.abstractmethod
    def cut(self, step: int, size: int, part: slice = slice(None)) -> Cuts:
        """The segments of a training step: the same for the same (seed, step), whatever was drawn before.

        Args:
            part: of the `size` items, those to make.
        """

    def batch(self, step: int, size: int, part: slice = slice(None)) -> Batch:
        """The same with their mels."""
        return self.cutter.with_mels(self.cut(step, size, part))


class SegmentSampler(Sampler):
    """Draws segments from recordings held in memory, in proportion to their length or balanced by speaker.

    Args:
        utterances: what to draw from; those shorter than a segment are left out (`skipped`).
        spec, segment, data: as `Cutter`.

    Raises:
        AudioError, MelError: unreadable files, all of them, or none long enough.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        spec: MelSpec,
        segment: int,
        seed: int = 0,
        data: DataSettings = AS_IT_IS,
    ):
        self.cutter = Cutter(spec, segment, data)
        self.seed = seed
        self.clips: list[Clip] = []
        self.skipped = []
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
        self.samples = sum(c.samples for c in self.clips)
        self.starts = np.array([c.starts for c in self.clips])
        voices, places = [c.voice for c in self.clips], self.starts * np.array([c.step for c in self.clips])
        self.voices = len(set(voices))
        odds = places * weights(voices, places, data)
        self.probability = odds / odds.sum()

    def cut(self, step: int, size: int, part: slice = slice(None)) -> Cuts:
        """As `Sampler.cut`."""
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.clips), size=size, p=self.probability)
        starts = rng.integers(self.starts[chosen])
        drawn = [
            Draw(self.clips[i], int(at), (self.seed, step, item))
            for item, (i, at) in enumerate(zip(chosen, starts, strict=True))
        ]
        return self.cutter.cut(drawn[part])
