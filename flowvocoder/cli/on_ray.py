"""Files shared among a Ray cluster: what --cluster means."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from flowvocoder.cli.common import check_threads
from flowvocoder.cli.processes import each
from flowvocoder.cluster import LOCAL, given_up, ray_cluster
from flowvocoder.progress import say

BLOCKS = 16
"""Blocks of files for each worker. A worker that is lost costs the file it had: what is there is not done again."""


class Job(NamedTuple):
    """One file to read, and the one to write."""

    input: Path
    output: Path


Start: TypeAlias = Callable[[argparse.Namespace], Callable[[Job], bool | str]]
"""Makes ready, and gives what works on a job; as of `each`."""


def on_ray(arguments: argparse.Namespace, start: Start, todo: Sequence[Job]) -> Iterator[bool | str]:
    """What `start(arguments)` gives of each job, as they are done. Each worker loads the voice once.

    If Ray gives up, what is left is done on this machine.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    local = {"cluster": None, "threads": 1}
    far = {
        key: value.absolute() for key, value in vars(arguments).items() if isinstance(value, Path) and value.exists()
    }
    alone = argparse.Namespace(**{**vars(arguments), **far, **local})
    left = {str(job.output.absolute()): job for job in todo}
    rows = [{"input": str(job.input.absolute()), "output": output} for output, job in left.items()]
    jobs, on_gpu = check_threads(arguments), arguments.device != "cpu"
    with ray_cluster(arguments.cluster, jobs) as ray:
        there = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))
        workers = max(1, min(len(rows), jobs if arguments.cluster == LOCAL and not on_gpu else there))
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS * workers)).map(
            _Worker,
            fn_constructor_args=(start, alone),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=int(on_gpu),
        )
        try:
            for row in dataset.iter_rows():
                if left.pop(row["output"], None) is not None:
                    yield given_outcome(row)
        except ray.exceptions.RayError as error:
            say(f"Ray gave up ({given_up(error)}): the {len(left)} files left are done here")
    if rest := list(left.values()):
        yield from each(argparse.Namespace(**{**vars(arguments), **local}), start, rest, [job.input for job in rest])


def given_outcome(row: dict[str, Any]) -> bool | str:
    """As `Start` gives it."""
    return row["refusal"] or bool(row["written"])


class _Worker:
    """A process of the cluster."""

    def __init__(self, start: Start, arguments: argparse.Namespace):
        self._work = start(arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        said = self._work(Job(Path(row["input"]), Path(row["output"])))
        return {"output": row["output"], "written": said is True, "refusal": said if isinstance(said, str) else ""}
