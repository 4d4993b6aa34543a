"""The same shards on a Ray cluster."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flowvocoder.cluster import given_up, ray_cluster
from flowvocoder.prepare.local_engine import write_locally
from flowvocoder.prepare.plan import ShardPlan
from flowvocoder.prepare.shard import Done
from flowvocoder.progress import say


def write_with_ray(
    write: "functools.partial[Done]", shards: Sequence[ShardPlan], address: str, jobs: int
) -> Iterator[Done]:
    """Each shard is a task of Ray Data, which repeats it elsewhere when a worker or its node is lost.

    A task that is repeated writes the same bytes under another temporary name, so a late twin does no harm. If Ray
    gives up all the same, the shards that are left are written on this machine.

    Args:
        address, jobs: as `ray_cluster`.

    Raises:
        ConfigError: as `ray_cluster`.
    """
    left = {shard.name: shard for shard in shards}
    with ray_cluster(address, jobs) as ray:
        try:
            for row in _dataset(ray, write, shards).iter_rows():
                if left.pop(row["name"], None) is not None:
                    yield Done(row["name"], float(row["source_seconds"]), float(row["cpu_seconds"]))
        except ray.exceptions.RayError as error:
            say(f"Ray gave up ({given_up(error)}): the {len(left)} shards left are written here")
    yield from write_locally(write, list(left.values()), jobs)


def _dataset(ray: Any, write: "functools.partial[Done]", shards: Sequence[ShardPlan]) -> Any:
    rows = [{"name": s.name, "split": s.split, "first": s.first, "offsets": s.offsets} for s in shards]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    gpus = 0 if write.keywords.get("device", "cpu") == "cpu" else 1
    return dataset.map(functools.partial(_write_row, write=write), num_cpus=1, num_gpus=gpus)


def _write_row(row: dict[str, Any], write: "functools.partial[Done]") -> dict[str, Any]:
    offsets = np.asarray(row["offsets"], dtype=np.uint64)
    done = write(ShardPlan(row["name"], row["split"], int(row["first"]), offsets))
    return {"name": done.name, "source_seconds": done.source_seconds, "cpu_seconds": done.cpu_seconds}
