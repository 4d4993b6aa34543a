"""What goes into which shard. It is decided before the first file is read, so every engine writes the same bytes."""

import array
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf

from flowvocoder.data.manifest import Entry, entry_at, read_lines
from flowvocoder.data.shards import FORMAT
from flowvocoder.data.splits import SPLITS, VALIDATION, hash_of, hold_out_one
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.files import sha256_of
from flowvocoder.prepare.convert import Settings
from flowvocoder.progress import progress


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write."""

    name: str  # train-00000
    split: str
    first: int  # number, within the split, of its first utterance
    offsets: npt.NDArray[np.uint64]  # bytes at which its lines start in the manifest, in the order of the shard


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole conversion. What `identity` gives is all that the bytes depend on; paths are not among it."""

    manifest: Path
    settings: Settings
    shard_size: int  # utterances
    manifest_sha256: str
    shards: tuple[ShardPlan, ...]
    upsampled: int = 0  # utterances stored at a lower rate than they will have

    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to continue with the shards of another."""
        settings = dataclasses.asdict(self.settings)
        if is_flac := self.settings.codec == "flac":  # then an earlier version reads it, and may have begun it
            del settings["codec"]
        return {
            "format": 1 if is_flac else FORMAT,
            "manifest_sha256": self.manifest_sha256,
            "settings": settings,
            "shard_size": self.shard_size,
            "libsndfile": sf.__libsndfile_version__,
        }

    def entries(self, shard: ShardPlan) -> Iterator[Entry]:
        """The lines of one shard. Raises DataError: the manifest has changed meanwhile."""
        with self.manifest.open("rb") as file:
            for offset in shard.offsets:
                yield dataclasses.replace(entry_at(self.manifest, file, int(offset)), split=shard.split)


def make_plan(manifest: Path, settings: Settings, shard_size: int) -> Plan:
    """Read the manifest once and deal its lines out to shards: by split, and within a split in the order of a hash.

    That order mixes speakers and sessions, so that a training run that reads shard by shard sees all of them. Memory:
    17 bytes a line.

    Raises:
        ConfigError: an impossible shard size.
        DataError: as `read_manifest`, or no utterance in it.
    """
    if not 1 <= shard_size <= 1_000_000:
        raise ConfigError(f"--shard-size must be from 1 to 1000000 utterances, not {shard_size}")
    offsets, hashes, splits, upsampled = array.array("Q"), array.array("Q"), array.array("b"), 0
    for entry, _, offset in progress(read_lines(manifest), "manifest", "line"):
        offsets.append(offset)
        hashes.append(hash_of(entry.id))
        splits.append(SPLITS.index(entry.split))
        upsampled += entry.rate < settings.rate
    if not offsets:
        raise DataError(f"{manifest}: holds no utterance")
    one = hold_out_one((SPLITS[code] for code in splits), hashes)
    if one is not None:
        splits[one] = SPLITS.index(VALIDATION)
    where, key = np.array(offsets, dtype=np.uint64), np.array(hashes, dtype=np.uint64)
    codes = np.array(splits, dtype=np.int8)
    shards = []
    for code, split in enumerate(SPLITS):
        chosen = np.flatnonzero(codes == code)
        ordered = where[chosen[np.argsort(key[chosen], kind="stable")]]
        for number, first in enumerate(range(0, len(ordered), shard_size)):
            shards.append(ShardPlan(f"{split}-{number:05d}", split, first, ordered[first : first + shard_size]))
    return Plan(manifest, settings, shard_size, sha256_of(manifest), tuple(shards), upsampled)
