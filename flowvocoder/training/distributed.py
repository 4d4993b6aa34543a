"""One run on several processes, as `torchrun` starts them."""

import atexit
import dataclasses
import datetime
import os
import warnings
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

# Before any group is joined: its functions take the group of the moment as a default, and keep it for ever.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from flowvocoder.errors import ConfigError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT = datetime.timedelta(minutes=10)
"""After so long without an answer a peer counts as lost; torchrun then restarts all workers."""


_PARALLEL: "weakref.WeakSet[DistributedDataParallel]" = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class DistributedContext:
    """The processes of a run; a single one needs no process group.

    Attributes:
        rank: number of this process, 0 .. size - 1. Process 0 alone writes files.
        size: number of processes.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> "DistributedContext":
        """Join the group that torchrun's environment describes (NCCL on GPUs, gloo on CPUs), or stay alone.

        Raises:
            ConfigError: the group cannot be joined.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        chosen = torch.device(device)
        if size == 1:
            return cls(0, 1, chosen)
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(chosen)
        if not dist.is_initialized():
            try:
                backend = "nccl" if chosen.type == "cuda" else "gloo"
                dist.init_process_group(
                    backend, store=_store_of_this_attempt(), rank=int(os.environ["RANK"]), world_size=size,
                    timeout=TIMEOUT,
                )  # fmt: skip
            except (RuntimeError, ValueError, KeyError) as error:
                raise ConfigError(f"cannot join the other processes: {str(error).splitlines()[0]}") from error
            if backend == "gloo":
                atexit.register(_let_go)  # for a run that fails, whose processes do not leave together
        return cls(dist.get_rank(), dist.get_world_size(), chosen)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def leave(self) -> None:
        """Leave the group, all processes together: one that leaves while another writes may take that one down."""
        if self.size > 1 and dist.is_initialized():
            self.all_reduce_max([0.0])
            _let_go()

    def shard(self, items: int) -> slice:
        """This process's items of a batch of `items`, a multiple of `size`."""
        each = items // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all processes."""
        if self.size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Gradients of 1x1 convolutions have their one tap in another place in memory; they are copied either way.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        # What only sampling uses is not in every step.
        parallel = DistributedDataParallel(module, device_ids=ids, find_unused_parameters=True)
        _PARALLEL.add(parallel)
        return parallel

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def all_reduce_max(self, values: Sequence[float]) -> list[float]:
        """Element-wise maximum over all processes: so that all of them stop, or none."""
        if self.size == 1:
            return list(values)
        agreed = torch.tensor(values, dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu")
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return [float(v) for v in agreed]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()


def _let_go() -> None:
    """End the group and its threads. What `parallel` returned cannot be used afterwards.

    A gloo thread frees the tensors of a collective after everybody has the result, and takes Python's lock for it. If
    Python exits meanwhile, the thread is made to end in the middle of a destructor, and the process aborts. So the
    threads must end first, which they do with the last reference to the group. That one must be ours: its destructor
    waits for them without holding the lock.
    """
    if not dist.is_initialized():
        return
    group = dist.group.WORLD
    while _PARALLEL:
        parallel = _PARALLEL.pop()
        del parallel.reducer, parallel.logger, parallel.process_group
    dist.destroy_process_group()
    del group


def _store_of_this_attempt() -> "Store":
    """Where the processes find each other.

    torchrun keeps one store for all attempts of a single node, in which restarted workers would find the addresses of
    those that died, and wait for them for ever. Of several nodes each counts its own restarts, so there the number
    would not do for a name.
    """
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    is_main = int(os.environ["RANK"]) == 0 and not of_agent
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, int(os.environ["WORLD_SIZE"]), is_main, timeout=TIMEOUT)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "0"
    return PrefixStore(f"flowvocoder/{attempt}", store)
