"""Shards written by processes of this machine, or on a Ray cluster."""

import functools
from collections.abc import Iterator, Sequence

from flowvocoder.cluster import cluster_map
from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.prepare.plan import ShardPlan
from flowvocoder.prepare.shard import Done


def write_shards(
    write: "functools.partial[Done]", shards: Sequence[ShardPlan], jobs: int, address: str | None = None
) -> Iterator[Done]:
    """A shard for each process; one that dies has its shard written again with each utterance in a process of its own.

    So the file that killed it is skipped, and nothing else. A shard that is written twice, since a node of the cluster
    was lost, has the same bytes under another temporary name, so a late twin does no harm.

    Args:
        address: of a cluster, as of `ray_cluster`; None does without Ray.

    Raises:
        ConfigError: as `ray_cluster`.
    """
    results: Iterator[Done | Crashed[ShardPlan]] = ordered_map(write, shards, jobs, ahead=2)
    if address is not None:
        on_gpu = write.keywords.get("device", "cpu") != "cpu"
        results = (done for _, done in cluster_map(write, shards, address, jobs, on_gpu))
    for result in results:
        if isinstance(result, Crashed):
            yield write(result.item, mapper=functools.partial(ordered_map, jobs=max(2, jobs)))
        else:
            yield result
