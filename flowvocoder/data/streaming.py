"""Training segments from shards, read one after the other, for corpora that no memory holds."""

import bisect
import dataclasses
import math
import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flowvocoder.config import AS_IT_IS, DataSettings
from flowvocoder.data.balance import weights
from flowvocoder.data.corpus import Corpus, Utterance, read_shard
from flowvocoder.data.segments import Clip, Cuts, Cutter, Draw, Sampler, SegmentSampler
from flowvocoder.data.shards import Shard
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.mel.spec import MelSpec

BUFFER_SHARDS = 4
"""Shards whose utterances are shuffled together, and held in memory together."""


GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def open_sampler(
    corpora: Sequence[Corpus],
    spec: MelSpec,
    segment: int,
    seed: int = 0,
    data: DataSettings = AS_IT_IS,
) -> Sampler:
    """A sampler for all of them.

    Raises:
        ConfigError: shards and other corpora together.
        AudioError, DataError, MelError: as the samplers.
    """
    shards = [c for c in corpora if c.shards]
    others = [c for c in corpora if not c.shards]
    if not shards:
        return SegmentSampler([u for c in others for u in c.training], spec, segment, seed, data)
    if others:
        raise ConfigError(f"{shards[0].name} is shards and {others[0].name} is not: `flowvocoder prepare` that one too")
    opened: list[Shard] = []
    for corpus in shards:
        assert corpus.rate is not None  # of shards
        if corpus.rate < spec.sample_rate:
            rates = f"is at {corpus.rate} Hz, the model wants {spec.sample_rate}"
            raise DataError(f"{corpus.name}: {rates}: prepare it with --rate {spec.sample_rate}")
        ratio = spec.sample_rate / corpus.rate  # resampled when they are read
        opened += [dataclasses.replace(s, lengths=(s.lengths * ratio).astype(np.int64)) for s in corpus.shards]
    return ShardSampler(opened, spec, segment, seed, data=data)


@dataclasses.dataclass(frozen=True)
class _Epoch:
    """The order of one pass: groups of shards, and where in the pass each begins."""

    groups: list[npt.NDArray[np.int64]]  # numbers of shards
    begins: npt.NDArray[np.int64]  # draws before each group, and their total


class ShardSampler(Sampler):
    """Draws segments shard after shard, through a shuffle buffer of `buffer` shards.

    A pass over the corpus draws from every utterance once for each segment it is long; balanced by speaker, so often on
    average of many passes. The order of the shards, that of the utterances within the buffer and the starts of segments
    come from (seed, pass, place). So any step can be computed at once, after a resume too. Two buffers are in memory at
    a time: this one and the one before.

    Args:
        shards: of the training split.
        spec, segment, data: as `Cutter`.
        buffer: shards shuffled together.

    Raises:
        AudioError: no utterance is long enough.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        spec: MelSpec,
        segment: int,
        seed: int = 0,
        buffer: int = BUFFER_SHARDS,
        data: DataSettings = AS_IT_IS,
    ):
        self.cutter = Cutter(spec, segment, data)
        self.shards, self.seed, self.buffer = list(shards), seed, buffer
        self.samples, self.skipped = 0, []
        self.changes = Counter()
        draws: list[npt.NDArray[np.int64]] = []  # how often a pass draws from each utterance of each shard
        for shard in self.shards:
            long_enough = shard.lengths >= self.cutter.shortest
            draws.append(np.where(long_enough, np.maximum(1, shard.lengths // self.cutter.segment), 0))
            self.samples += int(shard.lengths[long_enough].sum())
            self.skipped += [f"{shard.path.stem} no. {n}" for n in np.flatnonzero(~long_enough)]
        self.draws = sum(int(d.sum()) for d in draws)  # in one pass, on average
        if not self.draws:
            raise self.cutter.none_long_enough(sum(len(s.lengths) for s in self.shards))
        voices = [voice for shard in self.shards for voice in shard.voices]
        self.voices = len(set(voices))
        self.balanced = data.balance < 1.0
        self._average = [d.astype(np.float64) for d in draws]
        if self.balanced:
            odds = np.split(weights(voices, np.concatenate(draws), data), np.cumsum([len(d) for d in draws])[:-1])
            self._average = [d * w for d, w in zip(draws, odds, strict=True)]
        self._ends: list[int] = []  # of the passes so far, in draws
        self._lock = threading.Lock()  # batches may be made ahead of time, in threads
        self._recent: list[tuple[int, int]] = []  # (pass, group), the newest last
        self._epochs: dict[int, _Epoch] = {}
        self._orders: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        self._open: dict[int, list[Utterance]] = {}
        self._clips: dict[tuple[int, int], Clip | None] = {}

    def cut(self, step: int, size: int, part: slice = slice(None)) -> Cuts:
        """As `Sampler.cut`; raises DataError or AudioError for a damaged shard."""
        with self._lock:
            places = [self._place(step * size + i) for i in range(size)[part]]
            self._keep({place[:2] for place in places})
            drawn = [self._draw(*place) for place in places]
        return self.cutter.cut(drawn)

    def _place(self, item: int) -> tuple[int, int, int]:
        """(pass, group of the pass, draw of the group) of the item-th draw of all."""
        number, within = self._pass(item)
        begins = self._epoch(number).begins
        group = int(np.searchsorted(begins, within, side="right")) - 1
        return number, group, within - int(begins[group])

    def _pass(self, item: int) -> tuple[int, int]:
        """(pass, draw of it) of the item-th draw of all."""
        if not self.balanced:
            return divmod(item, self.draws)
        while not self._ends or self._ends[-1] <= item:
            drawn = sum(int(self._draws(len(self._ends), s).sum()) for s in range(len(self.shards)))
            self._ends.append(drawn + (self._ends[-1] if self._ends else 0))
        number = bisect.bisect_right(self._ends, item)
        return number, item - (self._ends[number - 1] if number else 0)

    def _draws(self, number: int, shard: int) -> npt.NDArray[np.int64]:
        """How often a pass draws from each utterance of a shard: its average, rounded up in as many passes as it takes.

        Which ones are spread as evenly as the multiples of the golden ratio are (a Kronecker sequence).
        """
        average = self._average[shard]
        whole = np.floor(average)
        if not self.balanced:
            return whole.astype(np.int64)
        phase = np.random.default_rng((self.seed, shard)).uniform(size=len(average))
        return (whole + ((phase + number * GOLDEN) % 1.0 < average - whole)).astype(np.int64)

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            order = np.random.default_rng((self.seed, number)).permutation(len(self.shards))
            groups = [order[i : i + self.buffer] for i in range(0, len(order), self.buffer)]
            sizes = [sum(int(self._draws(number, s).sum()) for s in g) for g in groups]
            self._epochs = {n: e for n, e in self._epochs.items() if abs(n - number) <= 1}
            self._epochs[number] = _Epoch(groups, np.concatenate([[0], np.cumsum(sizes)]))
        return self._epochs[number]

    def _draw(self, epoch: int, group: int, place: int) -> Draw:
        if (epoch, group) not in self._orders:
            shards = self._epoch(epoch).groups[group]
            pairs = [(s, u) for s in shards for u, n in enumerate(self._draws(epoch, s)) for _ in range(n)]
            rng = np.random.default_rng((self.seed, epoch, group, 0))
            self._orders[epoch, group] = np.array(pairs)[rng.permutation(len(pairs))]
        shard, number = map(int, self._orders[epoch, group][place])
        clip = self._clip(shard, number)
        key = (self.seed, epoch, group, 1 + place)
        return Draw(clip, int(np.random.default_rng(key).integers(clip.starts)), (*key, 1))

    def _clip(self, shard: int, number: int) -> Clip:
        if shard not in self._open:
            self._open[shard] = read_shard(self.shards[shard])
        if (shard, number) not in self._clips:
            self._clips[shard, number] = self.cutter.clip(self._open[shard][number])
        clip = self._clips[shard, number]
        if clip is None:
            have = int(self.shards[shard].lengths[number])
            raise DataError(f"{self.shards[shard].path}: utterance {number} is shorter than the {have} samples it says")
        return clip

    def _keep(self, groups: set[tuple[int, int]]) -> None:
        """Drop what is no longer needed: all but these groups and the one before, which another thread may be at."""
        self._recent = [g for g in self._recent if g not in groups][-1:] + sorted(groups)
        kept = {int(shard) for epoch, group in self._recent for shard in self._epoch(epoch).groups[group]}
        self._open = {s: u for s, u in self._open.items() if s in kept}
        self._clips = {k: c for k, c in self._clips.items() if k[0] in kept}
        self._orders = {k: o for k, o in self._orders.items() if k in self._recent}
