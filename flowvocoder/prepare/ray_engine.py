"""The same shards on a Ray cluster (extra `ray`). Manifest, audio and output lie on storage that all nodes share."""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flowvocoder.errors import ConfigError, FlowVocoderError
from flowvocoder.prepare.local_engine import write_locally
from flowvocoder.prepare.plan import ShardPlan
from flowvocoder.prepare.shard import Done
from flowvocoder.progress import say

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster started here: only the lists of what to do and what is done pass through it."""


def write_with_ray(
    write: "functools.partial[Done]", shards: Sequence[ShardPlan], address: str, jobs: int
) -> Iterator[Done]:
    """Each shard is a task of Ray Data, which repeats it elsewhere when a worker or its node is lost.

    A task that is repeated writes the same bytes under another temporary name, so a late twin does no harm. If Ray
    gives up all the same, the shards that are left are written on this machine.

    Args:
        address: of the cluster; "local" starts one here with `jobs` CPUs, which ends with this call.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    # Ray would report its use to its makers, and a thread that does so outlives the cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'flowvocoder[ray]'") from error
    left = {shard.name: shard for shard in shards}
    with _cluster(ray, address, jobs):
        try:
            for row in _dataset(ray, write, shards).iter_rows():
                if left.pop(row["name"], None) is not None:
                    yield Done(row["name"], float(row["source_seconds"]), float(row["cpu_seconds"]))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, FlowVocoderError):
                raise cause from error
            first = str(error).strip().splitlines()[0]
            say(f"Ray gave up ({first}): the {len(left)} shards left are written here")
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


@contextlib.contextmanager
def _cluster(ray: Any, address: str, jobs: int) -> Iterator[None]:
    """Connected to the cluster; left as it was found."""
    found = ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if not found and address == "local":
            ray.init(
                address="local",
                num_cpus=jobs,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )
        elif not found:
            ray.init(address=address, **options)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"--address {address}: no Ray cluster to be reached ({first})") from error
    try:
        yield
    finally:
        if not found:
            ray.shutdown()
