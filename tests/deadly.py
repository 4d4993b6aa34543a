"""What processes of tests die of and wait for; a module of its own, so that they start fast (no torch)."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from flowvocoder.data.manifest import Entry
from flowvocoder.prepare.convert import Converted, Skipped
from flowvocoder.prepare.plan import Plan, ShardPlan
from flowvocoder.prepare.shard import Done, Mapper, write_shard


def deadly(convert_one: Callable[[Entry], Converted | Skipped], entry: Entry) -> Converted | Skipped:
    if entry.id == "toy/utt011":
        os._exit(139)
    return convert_one(entry)


def write_deadly(shard: ShardPlan, plan: Plan, out: Path, mapper: Mapper = map) -> Done:
    """As `write_shard`, in a process that utt011 kills as a decoder's crash would."""
    return write_shard(shard, plan, out, mapper=lambda f, entries: mapper(functools.partial(deadly, f), entries))


def slow(item: int) -> int:
    """This process, at once for item 0; else after minutes."""
    time.sleep(200 if item else 0)
    return os.getpid()


def pid_or_die(item: int) -> tuple[int, int]:
    """The item and this process, which 13 kills."""
    if item == 13:
        os._exit(9)
    return item, os.getpid()
