"""How public methods run: with or without gradients, and whatever the caller's program has switched on."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from flowvocoder.errors import ConfigError
from flowvocoder.threads import own_threads

Function = TypeVar("Function", bound=Callable[..., Any])

_OF_DEFAULT_DTYPE = {
    torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace,
    torch.hann_window, torch.kaiser_window, torch.fft.rfftfreq,
}  # fmt: skip


def not_traced(function: Function) -> Function:
    """Keeps `torch.compile` around the caller's own code out: a traced synthesis would be another one."""

    @functools.cache
    def disabled() -> Any:
        return torch.compiler.disable(function)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        # Importing what `disable` needs takes a second. Who compiles has it.
        run = disabled() if "torch._dynamo" in sys.modules else function
        return run(*arguments, **options)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    return cast(Function, call)


def without_gradients(method: Function) -> Function:
    """Decorates a method or generator of an object that has a `device`.

    It records no gradients, computes in the model's own precision in spite of autocast and of other defaults, and gives
    ordinary tensors: they can be changed in place and be the input of a network that is trained.
    """

    @functools.wraps(method)
    def at_once(self: Any, *arguments: Any, **options: Any) -> Any:
        return _ordinary(_infer(self.device, method, self, *arguments, **options))

    @functools.wraps(method)
    def in_pieces(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        pieces = method(self, *arguments, **options)
        # Whole pieces are shared among threads. An operation that is, too, would spin beside them.
        while (piece := _infer(self.device, next, pieces, None, threads=1)) is not None:
            yield _ordinary(piece)  # outside of inference mode: there the caller's own code runs

    return cast(Function, in_pieces if inspect.isgeneratorfunction(method) else at_once)


def gradients_if_required(method: Function) -> Function:
    """As `without_gradients`, but gradients are recorded where an argument requires them."""
    plain = without_gradients(method)

    @functools.wraps(method)
    def either(self: Any, *arguments: Any, **options: Any) -> Any:
        given = (*arguments, *options.values())
        if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in given):
            return with_gradients(self.device, method, self, *arguments, **options)
        return plain(self, *arguments, **options)

    return cast(Function, either)


@not_traced
def with_gradients(device: torch.device, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function gives, with gradients where the caller's program records them, and in its own precision."""
    with own_precision(device):
        return function(*arguments, **options)


@not_traced
def _infer(
    device: torch.device, function: Callable[..., Any], *arguments: Any, threads: int | None = None, **options: Any
) -> Any:
    with torch.inference_mode(), own_precision(device, threads):
        return function(*arguments, **options)


@contextlib.contextmanager
def own_precision(device: torch.device, threads: int | None = None) -> Iterator[None]:
    """Whatever autocast, defaults and threads the caller's program has set: this package's own hold, or `threads`."""
    with torch.autocast(device.type, enabled=False), plain_defaults(), own_threads(threads):
        yield


@contextlib.contextmanager
def plain_defaults() -> Iterator[None]:
    """New tensors are float32 on the CPU where nothing else is said. Of this thread alone; also a decorator."""
    if torch.get_default_dtype() == torch.float32 and torch.get_default_device().type == "cpu":
        yield
        return
    with torch.device("cpu"), _Float32():
        yield


class _Float32(TorchFunctionMode):
    # `torch.set_default_dtype` would change what other threads of the caller's program make meanwhile.
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in _OF_DEFAULT_DTYPE and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        return function(*args, **kwargs)


class Frozen(nn.Module):
    """A module for inference in other people's programs: always in evaluation mode, and never in less than 32 bits."""

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever the mode of a module that it is part of."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def in_32_bits(tensor: Tensor) -> Tensor:  # a flow's inverse amplifies rounding
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype in (torch.float16, torch.bfloat16) else moved

        return super()._apply(in_32_bits, recurse)


def usable_device(name: str | torch.device) -> torch.device:
    """The device of a name. Raises ConfigError, with those there are, if there is none that can compute."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:  # PyTorch's own take 1 000 letters
        found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        found += ["mps"] * torch.backends.mps.is_available()
        raise ConfigError(f"device {name} is not usable here: there is {', '.join(found)}") from error
    return device


def on_cpu(x: Tensor) -> Tensor:
    """A tensor's values on the CPU; from a GPU in pinned memory, which it writes by itself."""
    return torch.empty(x.shape, dtype=x.dtype, device="cpu", pin_memory=True).copy_(x) if x.is_cuda else x.cpu()


def _ordinary(result: Any) -> Any:
    # Inference mode saves a tenth of the time that `no_grad` takes; a copy made after it has none of its limits.
    if isinstance(result, tuple):
        return tuple(map(_ordinary, result))
    return result.clone() if isinstance(result, Tensor) else result
