"""The pitch recursion as machine code, where numba is installed: `pip install 'flowvocoder[fast]'`."""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowvocoder.extras import machine_code
from flowvocoder.flows.recursion.reference import GROUP, REACH, Solver


def solver(min_lag: int, block: int) -> Solver:
    """A `reference.SolverFactory`; its solver takes any lags and blocks."""
    return compiled_solve()


@functools.cache
def compiled_solve() -> Solver:
    """What gives the same as `reference.solve`, on a CPU some ten times as fast.

    Compiling takes a few seconds the first time; numba keeps the result beside this file.

    Raises:
        ConfigError: numba is not installed.
    """
    loop = machine_code(_loop, fastmath={"contract", "reassoc"}, error_model="numpy")

    def solve(e: Tensor, lag: Tensor, taps: Tensor, past: Tensor) -> Tensor:
        x = torch.cat([past, e], 1).cpu()
        loop(x.numpy(), lag.cpu().numpy(), taps.cpu().numpy(), past.shape[1])
        return x[:, past.shape[1] :].to(e.device)

    return solve


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
