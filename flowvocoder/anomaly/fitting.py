"""The data of a fit: examples and calibration, made in processes, kept until the fit is done."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from flowvocoder import __version__
from flowvocoder.anomaly.damages import DAMAGES
from flowvocoder.anomaly.examples import (
    Corpus,
    Example,
    Training,
    breaks,
    crop,
    edges,
    examples,
    spectra,
    stays,
    untouched,
)
from flowvocoder.anomaly.features import FEATURES
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.files import sha256_of_json, writing
from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.progress import progress
from flowvocoder.voice_card import BUNDLED_VOICE

SHARD = 8
"""Crops that are worked on, and kept, together."""

LONGEST_CALIBRATION = 8.0
"""Seconds of a crop that calibrates."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a fit.

    Attributes:
        crops: to learn from, each as it is and damaged in three ways.
        calibration: crops of the speakers who are held out. Half say what is usual, half give p-values.
        held_out: share of the speakers.
        seed: the fit is a function of it and of the recordings.

    Raises:
        ConfigError: too few crops.
    """

    crops: int = 480
    calibration: int = 320
    held_out: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crops < 1 or self.calibration < 2:
            raise ConfigError(f"{self.crops} crops and {self.calibration} to calibrate: at least 1 and 2 are needed")


def training(corpus: Corpus, settings: Settings, work: Path | None, jobs: int) -> Training:
    """Crops of speakers to learn from, clean and damaged; others for discontinuities, band edges and spectrograms."""
    crops = settings.crops
    makers = (
        ("examples", examples, 0, crops),
        ("discontinuities", breaks, 2, crops),
        ("band edges", edges, 3, 2 * crops),
        ("lines", stays, 5, crops),
        ("spectrograms", spectra, 4, 6 * crops),
    )
    return Training(*(
        _made(what, functools.partial(make, corpus=corpus, seed=settings.seed + more), corpus, count,
              settings.seed, work, jobs)
        for what, make, more, count in makers
    ))  # fmt: skip


def calibration_crops(corpus: Corpus, settings: Settings, work: Path | None, jobs: int) -> list[Example]:
    """Clean crops, unaltered, of what is held out: as many of each folder."""
    make = functools.partial(_clean, corpus=corpus, seed=settings.seed + 1)
    return _made("calibration", make, corpus, settings.calibration, settings.seed, work, jobs)


def _clean(index: int, corpus: Corpus, seed: int) -> list[Example]:
    folder = corpus.in_turn(index // 2)  # twice each: one of two crops says what is usual, the other gives p-values
    return [untouched(crop(folder, np.random.default_rng([seed, index]), LONGEST_CALIBRATION, altered=False))]


def _made(what: str, make: Callable[[int], Iterable[Example]], corpus: Corpus, count: int, seed: int, work: Path | None,
          jobs: int) -> list[Example]:  # fmt: skip
    files = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for each in corpus.speakers for file in each]
    # What was made of other recordings, or by another version, is made anew.
    settings = [__version__, BUNDLED_VOICE.name, FEATURES, list(DAMAGES), seed, files]
    key = sha256_of_json({"settings": settings})[:12]
    shards = [(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]
    one = functools.partial(_shard, make=make, name=f"{what}-{key}", work=work)
    found: list[Example] = []
    for shard, result in zip(shards, progress(ordered_map(one, shards, jobs), what, "shard", len(shards)), strict=True):
        if isinstance(result, Crashed):
            raise DataError(
                f"{what} {shard[0]} to {shard[1]}: the process that made them died: less --jobs need less memory"
            )
        found += result
    return found


def _shard(
    shard: tuple[int, int], make: Callable[[int], Iterable[Example]], name: str, work: Path | None
) -> list[Example]:
    path = None if work is None else work / f"{name}-{shard[0]:06d}-{shard[1]:06d}.npz"
    if path is not None and path.is_file():
        return _read(path)
    each = (one for index in range(*shard) for one in make(index))
    made = [one._replace(features=one.features.astype(np.float16)) for one in each]
    if path is not None:
        with writing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                features=np.concatenate([one.features for one in made]),
                lengths=[len(one.features) for one in made],
                damages=[one.damage for one in made],
            )
    return made


def _read(path: Path) -> list[Example]:
    with np.load(path) as kept:
        ends = np.cumsum(kept["lengths"])[:-1]
        return [Example(*one) for one in zip(np.split(kept["features"], ends), kept["damages"].tolist(), strict=True)]
