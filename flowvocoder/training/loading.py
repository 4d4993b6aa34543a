"""Batches of the coming steps, made while the device computes."""

from concurrent.futures import Future, ThreadPoolExecutor

from flowvocoder.data.segments import Batch
from flowvocoder.data.streaming import Sampler
from flowvocoder.training.distributed import DistributedContext


class Loader:
    """This process's shard of each step's batch.

    On a GPU, threads make batches ahead of time, pinned for a copy that does not wait. On a CPU batches are made when
    they are requested: the same cores would do it.

    Args:
        size: items of a batch over all processes.
    """

    def __init__(self, sampler: Sampler, size: int, processes: DistributedContext, ahead: int = 4):
        self.sampler, self.size, self.shard = sampler, size, processes.shard(size)
        self.pin = processes.device.type == "cuda"
        self.ahead = ahead if self.pin else 0
        self.pool = ThreadPoolExecutor(max(1, self.ahead), thread_name_prefix="batch")
        self.coming: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """This process's shard of the batch of a step."""
        if not self.ahead:
            return self._make(step)
        for later in range(step, step + self.ahead + 1):
            if later not in self.coming:
                self.coming[later] = self.pool.submit(self._make, later)
        return self.coming.pop(step).result()

    def close(self) -> None:
        """Drop what was made for steps that will not come."""
        self.pool.shutdown(cancel_futures=True)
        self.coming.clear()

    def _make(self, step: int) -> Batch:
        batch = self.sampler.batch(step, self.size, self.shard)
        if not self.pin:
            return batch
        return Batch(batch.audio.pin_memory(), batch.mel.pin_memory(), batch.ids)
