"""Shards written by processes of this machine."""

import functools
from collections.abc import Iterable, Iterator

from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.prepare.plan import ShardPlan
from flowvocoder.prepare.shard import Done


def write_locally(write: "functools.partial[Done]", shards: Iterable[ShardPlan], jobs: int) -> Iterator[Done]:
    """A shard for each process; one that dies has its shard written again with each utterance in a process of its own.

    So the file that killed it is skipped, and nothing else.
    """
    for result in ordered_map(write, shards, jobs, ahead=2):
        if isinstance(result, Crashed):
            yield write(result.item, mapper=functools.partial(ordered_map, jobs=max(2, jobs)))
        else:
            yield result
