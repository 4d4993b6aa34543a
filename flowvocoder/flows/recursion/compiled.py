"""The pitch recursion as machine code, where numba is installed: `pip install 'flowvocoder[fast]'`."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowvocoder.extras import machine_code
from flowvocoder.flows.recursion.reference import GROUP, REACH, WIDEST, Solver


def solver(min_lag: int, block: int) -> Solver:
    """A `reference.SolverFactory`; its solver takes any lags and blocks."""
    _compiled(torch.float32)

    def solve(e: Tensor, nodes: Tensor, past: Tensor) -> Tensor:
        loop, taps_at = _compiled(e.dtype)
        lag, taps = taps_at(nodes.cpu().numpy(), min_lag)
        return _run(loop, e, lag, taps, past)

    return solve


def compiled_solve() -> Callable[..., Tensor]:
    """What gives the same as `reference.solve`, on a CPU some ten times as fast.

    Compiling takes a few seconds the first time; numba keeps the result beside this file.

    Raises:
        ConfigError: numba is not installed.
    """
    _compiled(torch.float32)

    def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
        loop, _ = _compiled(e.dtype)
        return _run(loop, e, lag.cpu().numpy(), taps.cpu().numpy(), past)

    return solve


@functools.cache
def _compiled(dtype: torch.dtype) -> tuple[Any, Any]:
    """What is in `side_by_side`; where numbers are not of float32, the loops below."""
    if dtype == torch.float32:
        from flowvocoder.flows.recursion import side_by_side

        return side_by_side.recur, side_by_side.taps_at
    loop = machine_code(_loop, fastmath={"contract", "reassoc"}, error_model="numpy")
    return loop, machine_code(_taps_at, error_model="numpy")


def _run(loop: Any, e: Tensor, lag: Any, taps: Any, past: Tensor) -> Tensor:
    x = torch.cat([past, e], 1).cpu()
    loop(x.numpy(), lag, taps, past.shape[1])
    return x[:, past.shape[1] :].to(e.device)


def _loop(x: Any, lag: Any, taps: Any, before: int) -> None:
    """x (B, before + G * GROUP) holds the past and the residual, and in the end the samples."""
    after = ((np.arange(GROUP) + 0.5) / GROUP).astype(x.dtype)
    fades = (x.dtype.type(1) - after, after)
    for item in range(x.shape[0]):
        row = x[item]
        for group in range(lag.shape[1] - 1):
            start = before + group * GROUP
            for side in range(2):
                node = group + side
                source = start - lag[item, node]
                fade = fades[side]
                for j in range(2 * REACH + 1):
                    tap = taps[item, node, j]
                    for i in range(GROUP):
                        row[start + i] += fade[i] * (tap * row[source + REACH - j + i])


def _taps_at(nodes: Any, min_lag: int) -> Any:
    """As `reference.taps_at`, of nodes (B, G + 1, 1 + W): a fractional lag and gains."""
    items, count, width = nodes.shape
    lag, taps = np.empty((items, count), np.int64), np.zeros((items, count, 2 * REACH + 1), nodes.dtype)
    scale, shape = nodes.dtype.type(0.5**0.5 / WIDEST), np.empty(2 * REACH + 1, nodes.dtype)
    for item in range(items):
        for node in range(count):
            exact = nodes[item, node, 0]
            whole = np.rint(nodes.dtype.type(min_lag) if np.isnan(exact) else exact)
            lag[item, node] = whole
            for j in range(2 * REACH + 1):
                shape[j] = np.exp(-((scale * (nodes.dtype.type(j - REACH) + (whole - exact))) ** 2))
            for filter in range(width - 1, 0, -1):
                gain = nodes[item, node, filter] / shape.sum()
                for j in range(2 * REACH + 1):
                    taps[item, node, j] += gain * shape[j]
                    shape[j] = (shape[j] * shape[j]) * (shape[j] * shape[j])
    return lag, taps
