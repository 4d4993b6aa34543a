"""A Ray cluster (extra `ray`). Inputs and outputs lie on storage that all nodes share."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from flowvocoder.errors import ConfigError, FlowVocoderError

LOCAL = "local"
"""The address of a cluster that is started here."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster started here: only the lists of what to do and what is done pass through it."""


@contextlib.contextmanager
def ray_cluster(address: str, jobs: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster, which is left as it was found.

    Args:
        address: of the cluster; "local" starts one here with `jobs` CPUs, which ends with this.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    # Ray would report its use to its makers, and a thread that does so outlives the cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("a cluster needs Ray: pip install 'flowvocoder[ray]'") from error
    found = ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        if not found:
            ray.init(address=address, **options)
        ray.data.DataContext.get_current().enable_progress_bars = False
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"{address}: no Ray cluster to be reached ({first})") from error
    try:
        yield ray
    finally:
        if not found:
            ray.shutdown()


def given_up(error: Exception) -> str:
    """What Ray says of having given up, in a few words. Raises the error of this package that was the cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FlowVocoderError):
        raise cause from error
    return str(error).strip().splitlines()[0]
