"""Batches of the coming steps, made while the device computes."""

import itertools
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from flowvocoder.data.segments import Batch, Cuts, Sampler
from flowvocoder.errors import FlowVocoderError
from flowvocoder.training.distributed import DistributedContext

AHEAD = 2
"""Batches that a worker makes ahead of time."""

MOST_WORKERS = 16

_SHARED = Path("/dev/shm")
"""Where processes hand tensors over."""


class Loader:
    """This process's shard of each step's batch: on its GPU, else on the CPU.

    On a GPU segments are cut ahead of time and pinned for a copy that does not wait: by threads, or by processes where
    they are altered, which takes a millisecond each. Their mels are computed on the GPU. On a CPU batches are made when
    they are requested: the same cores would do it.

    Args:
        size: items of a batch over all processes.
        workers: processes that cut; None: as many as there are cores and shared memory for.
    """

    def __init__(self, sampler: Sampler, size: int, processes: DistributedContext, workers: int | None = None):
        self.sampler, self.size, self.shard = sampler, size, processes.shard(size)
        self.on_gpu = processes.device.type == "cuda"
        self.device = processes.device if self.on_gpu else torch.device("cpu")
        sampler.cutter.front_end.to(self.device)
        if workers is None:
            alters = self.on_gpu and sampler.cutter.augmenter is not None
            workers = usable_workers(self._bytes(), processes.size) if alters else 0
        self.workers = workers
        self.threads = ThreadPoolExecutor(2 * AHEAD, thread_name_prefix="batch")
        self.coming: dict[int, Future[Cuts]] = {}
        self.made: Iterator[Cuts | FlowVocoderError] = iter(())
        self.next = -1  # step that `made` gives next

    def batch(self, step: int) -> Batch:
        """This process's shard of the batch of a step."""
        return self.sampler.cutter.with_mels(self._cuts(step).to(self.device))

    def close(self) -> None:
        """Drop what was made for steps that will not come."""
        self.threads.shutdown(cancel_futures=True)
        self.coming.clear()
        self.made = iter(())  # its workers end with it

    def _cuts(self, step: int) -> Cuts:
        if self.workers:
            return self._of_workers(step)
        if not self.on_gpu:
            return self.sampler.cut(step, self.size, self.shard)
        for later in range(step, step + 2 * AHEAD + 1):
            if later not in self.coming:
                self.coming[later] = self.threads.submit(self._pinned, later)
        return self.coming.pop(step).result()

    def _pinned(self, step: int) -> Cuts:
        return self.sampler.cut(step, self.size, self.shard).pin_memory()

    def _of_workers(self, step: int) -> Cuts:
        if step == self.next:
            self.next += 1
            made = next(self.made)
            if isinstance(made, FlowVocoderError):
                raise made
            return made
        # Cut here: what is read for it, of a small corpus all there is, the workers have from the start.
        cuts = self.sampler.cut(step, self.size, self.shard)
        self.next = step + 1
        self.made = iter(
            DataLoader(
                _Steps(self.sampler, self.size, self.shard), batch_size=None, sampler=itertools.count(self.next),
                num_workers=self.workers, prefetch_factor=AHEAD, pin_memory=self.on_gpu,
                multiprocessing_context="fork",
            )
        )  # fmt: skip
        return cuts

    def _bytes(self) -> int:
        items = self.shard.stop - self.shard.start
        return 4 * items * (self.sampler.cutter.segment + self.sampler.cutter.left + self.sampler.cutter.right)


def usable_workers(batch: int, processes: int) -> int:
    """How many processes may cut batches of so many bytes, beside those that train; 0 where more than one cannot."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    room = shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else 0
    workers = min(cores // processes - 1, room // processes // (2 * AHEAD * batch), MOST_WORKERS)
    return workers if workers > 1 else 0


class _Steps(Dataset[Cuts | FlowVocoderError]):
    """Cuts by the number of the step, or why there are none: an exception would come with a traceback."""

    def __init__(self, sampler: Sampler, size: int, shard: slice):
        self.sampler, self.size, self.shard = sampler, size, shard

    def __getitem__(self, step: int) -> Cuts | FlowVocoderError:
        try:
            return self.sampler.cut(step, self.size, self.shard)
        except FlowVocoderError as error:
            return error
