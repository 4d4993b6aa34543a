"""Writing one shard: the unit of work, of resuming and of repeating after a failure."""

import dataclasses
import functools
import json
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flowvocoder.data.manifest import Entry
from flowvocoder.errors import DataError
from flowvocoder.files import read_json, sha256_of, writing
from flowvocoder.parallel import Crashed
from flowvocoder.prepare.convert import Converted, Skipped, convert
from flowvocoder.prepare.plan import Plan, ShardPlan
from flowvocoder.tars import add_member

Outcome = Converted | Skipped | Crashed[Entry]
Mapper = Callable[[Callable[[Entry], Converted | Skipped], Iterable[Entry]], Iterator[Outcome]]


@dataclasses.dataclass(frozen=True)
class Done:
    """A shard that stands in its folder."""

    name: str
    source_seconds: float = 0.0  # of audio read for it, 0 if it stood there before
    cpu_seconds: float = 0.0  # that took


def is_done(out: Path, shard: ShardPlan) -> bool:
    """Whether it stands there whole: its JSON is written after the tar file."""
    tar, about = out / f"{shard.name}.tar", out / f"{shard.name}.json"
    try:
        return tar.stat().st_size == read_json(about, DataError)["bytes"]
    except (OSError, DataError, KeyError, TypeError):
        return False


def write_shard(shard: ShardPlan, plan: Plan, out: Path, device: str = "cpu", mapper: Mapper = map) -> Done:
    """Convert the utterances of one shard and write its tar and JSON; the bytes depend on the plan only.

    Args:
        mapper: how `convert` is mapped over the entries, for an engine that fears for its process.

    Raises:
        DataError: the manifest has changed meanwhile.
        OutputError: a file cannot be written.
    """
    started, source = time.process_time(), 0.0
    lengths: list[int] = []
    speakers: list[str] = []
    skipped: list[dict[str, str]] = []
    work = functools.partial(convert, folder=plan.manifest.parent, settings=plan.settings, device=device)
    path = out / f"{shard.name}.tar"
    with writing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, outcome in enumerate(mapper(work, plan.entries(shard)), shard.first):
                if isinstance(outcome, Converted):
                    for extension, content in outcome.members:
                        add_member(tar, f"{number:09d}.{extension}", content)
                    lengths.append(outcome.samples)
                    speakers.append(outcome.speaker)
                    source += outcome.source_seconds
                else:
                    skipped.append(dataclasses.asdict(_of_crash(outcome)))
        about: dict[str, Any] = {
            "name": shard.name,
            "split": shard.split,
            "utterances": len(lengths),
            "samples": sum(lengths),
            "bytes": temporary.stat().st_size,
            "sha256": sha256_of(temporary),
            "lengths": lengths,
            "speakers": speakers,
            "skipped": skipped,
        }
    with writing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, ensure_ascii=False) + "\n", encoding="utf-8")
    return Done(shard.name, source, time.process_time() - started)


def _of_crash(outcome: Skipped | Crashed[Entry]) -> Skipped:
    if isinstance(outcome, Skipped):
        return outcome
    return Skipped(outcome.item.id, f"{outcome.item.path}: crashes the decoder or needs more memory than there is")
