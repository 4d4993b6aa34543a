"""Continuous flows (Chen et al. 2018, arXiv:1806.07366; FFJORD, Grathwohl et al. 2019, arXiv:1810.01367)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection

TRAINING, FLOAT32, FLOAT64 = 1e-3, 1e-6, 1e-11
"""Error of a step that is allowed while training, and otherwise in either precision."""

STAGES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (1 / 5, (1 / 5,)),
    (3 / 10, (3 / 40, 9 / 40)),
    (4 / 5, (44 / 45, -56 / 15, 32 / 9)),
    (8 / 9, (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729)),
    (1.0, (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656)),
    (1.0, (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)),
)
"""Of the method of Dormand and Prince (1980), of order 5: a stage's time, and its weights of the slopes before it."""

ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""What the result of order 5 has more than that of order 4."""

State = tuple[Tensor, Tensor]
Rate = Callable[[float, State], State]


class Velocity(nn.Module):
    """A network of two hidden layers that gives dx/dt and its divergence, exactly, at any number of channels.

    With f = W3 tanh(W2 tanh(W1 x + ...) + ...) the trace of df/dx is the sum over all pairs of hidden units (i, j) of
    tanh'_i tanh'_j W2_ij (W1 W3)_ji: one matrix product more. Hutchinson's estimator (arXiv:1810.01367) is there, too.

    Args:
        channels: C.
        context: channels of the context, 0 for none.
        hidden: width of both layers.
    """

    def __init__(self, channels: int, context: int, hidden: int):
        super().__init__()
        self.start = nn.Linear(channels, hidden, bias=False)
        self.given = nn.Linear(context + 1, hidden)  # time, and the context
        self.middle = nn.Linear(hidden, hidden)
        self.end = nn.Linear(hidden, channels)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, time: float, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, C), context (B, N, D) -> velocity (B, N, C), divergence (B, N)."""
        first, second = self._hidden(time, x, context)
        pairs = self.middle.weight * (self.start.weight @ self.end.weight).T
        divergence = (F.linear(1.0 - first.square(), pairs) * (1.0 - second.square())).sum(2)
        return self.end(second), divergence

    def estimate(self, time: float, x: Tensor, context: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, the divergence estimated by e . (df/dx e) with random signs e (B, N, C)."""
        first, second = self._hidden(time, x, context)
        along = F.linear((1.0 - first.square()) * self.start(signs), self.middle.weight)
        along = F.linear((1.0 - second.square()) * along, self.end.weight)
        return self.end(second), (signs * along).sum(2)

    def at(self, time: Tensor, x: Tensor, context: Tensor) -> Tensor:
        """The velocity alone, at a time (B, N, 1) of each column's own."""
        velocity: Tensor = self.end(self._hidden(time, x, context)[1])
        return velocity

    def _hidden(self, time: float | Tensor, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        given = torch.cat([context, time], 2) if isinstance(time, Tensor) else F.pad(context, (0, 1), value=time)
        first = torch.tanh(self.start(x) + self.given(given))
        return first, torch.tanh(self.middle(first))


class ContinuousFlow(Bijection):
    """z = x(1) where x(0) = x and dx/dt = velocity(t, x, context); the log-det is the integral of the divergence.

    Both ways are solutions of a differential equation, as exact as the solver: forward and inverse agree to about 1e-10
    in float64 and 1e-5 in float32. While training a larger error is allowed.

    Args:
        velocity: gives the velocity and its divergence.
    """

    cheap_inverse = False

    def __init__(self, velocity: Velocity):
        super().__init__()
        self.velocity = velocity

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self._flow(x, context, 0.0, 1.0)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self._flow(z, context, 1.0, 0.0)[0]

    def estimate(self, x: Tensor, context: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with an unbiased estimate of the log-det by random signs (B, C, N), the same at all times."""
        z, logdet = self._flow(x, context, 0.0, 1.0, signs.transpose(1, 2))
        return z, logdet.sum(1)

    def velocity_at(self, time: Tensor, x: Tensor, context: Tensor) -> Tensor:
        """dx/dt (B, C, N) at times (B, N, 1)."""
        return self.velocity.at(time, x.transpose(1, 2), context.transpose(1, 2)).transpose(1, 2)

    def _flow(
        self, x: Tensor, context: Tensor, start: float, end: float, signs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        columns, given = x.transpose(1, 2), context.transpose(1, 2)
        exact = FLOAT64 if x.dtype == torch.float64 else FLOAT32

        def rate(time: float, state: State) -> State:
            if signs is not None:
                return self.velocity.estimate(time, state[0], given, signs)
            velocity, divergence = self.velocity(time, state[0], given)
            return velocity, divergence

        state = columns, columns.new_zeros(columns.shape[:2])
        moved, logdet = solve(rate, state, start, end, TRAINING if self.training else exact)
        return moved.transpose(1, 2), logdet


def solve(rate: Rate, state: State, start: float, end: float, tolerance: float) -> State:
    """The state at time `end` of one that is `state` at `start` and changes by `rate`.

    Args:
        tolerance: largest error of a step, absolute below 1 and relative above.
    """
    time, step, slope = start, 0.25 * (end - start), rate(start, state)
    while abs(end - time) > 1e-9 * abs(end - start):
        step = min(step, end - time, key=abs)
        slopes, new = [slope], state
        for at, weights in STAGES:
            new = _moved(state, step, weights, slopes)
            slopes.append(rate(time + at * step, new))
        error = _error(step, slopes, new) / tolerance
        if error <= 1.0:
            time, state, slope = time + step, new, slopes[-1]
        step *= min(5.0, max(0.2, 0.9 * max(error, 1e-8) ** -0.2))
    return state


def _moved(state: State, step: float, weights: Sequence[float], slopes: Sequence[State]) -> State:
    x, y = state
    for weight, (dx, dy) in zip(weights, slopes, strict=True):
        x, y = x + step * weight * dx, y + step * weight * dy
    return x, y


def _error(step: float, slopes: Sequence[State], new: State) -> float:
    """Largest error of a step, relative where a number is above 1."""
    with torch.no_grad():
        zeros = torch.zeros_like(new[0]), torch.zeros_like(new[1])
        errors = _moved(zeros, step, ERROR, slopes)
        return max(float((e.abs() / n.abs().clamp_min(1.0)).max()) for e, n in zip(errors, new, strict=True))
