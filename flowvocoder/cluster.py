"""A Ray cluster (extra `ray`). Inputs and outputs lie on storage that all nodes share."""

import collections
import contextlib
import functools
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from flowvocoder.errors import ConfigError, FlowVocoderError
from flowvocoder.parallel import Crashed, ordered_map
from flowvocoder.progress import say

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
"""The address of a cluster that is started here."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster started here: only the lists of what to do and what is done pass through it."""

MOST_LOST = 3
"""How often an item may lose its worker, before it is done on this machine; and as many workers more than there are may
be lost before they can begin."""


def cluster_map(
    function: Callable[[Item], Result], items: Sequence[Item], address: str, jobs: int, on_gpu: bool = False
) -> Iterator[tuple[int, Result | Crashed[Item]]]:
    """The places of items with what `function` gives of them, as they are done; each once, whatever is lost.

    There is a worker for each CPU or GPU. One that is lost costs the item it had in hand, which another does again.
    What is left when Ray gives up is done by `jobs` processes of this machine. Relative paths are those of this
    process, if the nodes have its folder.

    Args:
        function: other processes import it.
        address, jobs: as `ray_cluster`.

    Raises:
        ConfigError: as `ray_cluster`.
        FlowVocoderError: what `function` raises.
    """
    left = dict(enumerate(items))
    with ray_cluster(address, jobs) as ray:
        try:
            for place, result in _shared(ray, function, items, on_gpu):
                del left[place]
                yield place, result
            why = "their workers were lost"
        except ray.exceptions.RayError as error:
            why = _given_up(error)
    if left:
        say(f"Ray gave up ({why}): the {len(left)} left are done here")
    yield from zip(left, ordered_map(function, left.values(), jobs), strict=True)


def _shared(
    ray: Any, function: Callable[[Item], Result], items: Sequence[Item], on_gpu: bool
) -> Iterator[tuple[int, Result]]:
    """Of `cluster_map`, all but items that lost their worker too often. Raises RayError."""
    start = functools.partial(ray.remote(num_cpus=1, num_gpus=int(on_gpu))(_Worker).remote, function, str(Path.cwd()))
    waiting = collections.deque(range(len(items)))
    lost: collections.Counter[int] = collections.Counter()
    at_work: dict[Any, tuple[Any, int]] = {}  # what is to come: from which worker, of which place
    starting = -1  # in place of one

    def begin() -> None:
        worker = start()
        at_work[worker.ready.remote()] = worker, starting

    workers = max(1, min(len(items), int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))))
    for _ in range(workers):
        begin()
    while waiting or any(place != starting for _, place in at_work.values()):
        (done,), _ = ray.wait(list(at_work))
        worker, place = at_work.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError:
            lost[place] += 1
            if lost[starting] > workers + MOST_LOST:
                raise
            if place != starting and lost[place] < MOST_LOST:
                waiting.appendleft(place)
            begin()
            continue
        if place != starting:
            yield place, result
        if waiting:
            place = waiting.popleft()
            at_work[worker.work.remote(items[place])] = worker, place


def in_order(results: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    """Results by their places, each as soon as those before it are there."""
    early: dict[int, Result] = {}
    place = 0
    for at, result in results:
        early[at] = result
        while place in early:
            yield early.pop(place)
            place += 1


class _Worker(Generic[Item, Result]):
    """A process of the cluster."""

    def __init__(self, function: Callable[[Item], Result], folder: str):
        self._function = function
        with contextlib.suppress(OSError):  # a node without that folder may still have those of absolute paths
            os.chdir(folder)

    def ready(self) -> None:
        """Answers once it can work."""

    def work(self, item: Item) -> Result:
        return self._function(item)


SECONDS_TO_ANSWER = 10.0


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
    # What it says of lost nodes would stand between the results, on standard output.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("a cluster needs Ray: pip install 'flowvocoder[ray]'") from error
    found = ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        if not found:
            _knock(address)
            ray.init(address=address, **options)
    except Exception as error:  # a start that takes too long on a busy machine raises no more than that
        first = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise ConfigError(f"{address}: no Ray cluster to be reached ({first})") from error
    try:
        yield ray
    finally:
        if not found:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody answers at HOST:PORT: Ray would wait for minutes and then end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _given_up(error: Exception) -> str:
    """What Ray says of having given up, in a few words. Raises the error of this package that was the cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FlowVocoderError):
        raise cause from error
    return re.sub(r"\x1b\[\d*m", "", str(error).strip().splitlines()[0])  # it colours some words
