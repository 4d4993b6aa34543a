"""What a step of streaming synthesis keeps of the steps before it, and where in the signal it is."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Memory:
    """The state between two steps: the last columns of every signal that a later step still needs.

    A layer asks for the past of a signal instead of keeping it; asked in the same order at every step, the tensors line
    up. So state is a plain list that can be saved, copied, or handed to an exported model.

    Args:
        old: what the step before left in `new`; None at the start of a signal, when the past is zeros.
    """

    def __init__(self, old: Sequence[Tensor] | None = None):
        self._old = None if old is None else iter(old)
        self.new: list[Tensor] = []

    def extend(self, x: Tensor, count: int) -> Tensor:
        """The last `count` columns before x, then x: (B, n, C) -> (B, count + n, C). Keeps as many for next time."""
        if count == 0:
            return x
        extended = torch.cat([self.past(x, count), x], 1)
        self.keep(extended[:, x.shape[1] :])
        return extended

    def past(self, like: Tensor, count: int) -> Tensor:
        """The columns (B, count, C) that the last step kept here; `keep` must follow."""
        return like.new_zeros(like.shape[0], count, like.shape[2]) if self._old is None else next(self._old)

    def keep(self, columns: Tensor) -> None:
        """Hand columns to the next step."""
        self.new.append(columns)

    def delay(self, x: Tensor, count: int) -> Tensor:
        """x as it was `count` columns ago: (B, n, C) -> (B, n, C)."""
        return self.extend(x, count)[:, : x.shape[1]]


class Clock:
    """Which part of the signal a step sees. Columns before the start and after the end must not reach a convolution.

    Args:
        start: frames before this step.
        length: frames in all, per item (B,); None while the end is not known.
        exact: `start` may be a tensor and nothing is assumed about it, for tracing.
    """

    def __init__(self, start: int | Tensor, length: Tensor | None, exact: bool = False):
        self.start = start
        self.length = length
        self._shortest = None if length is None or exact else int(length.min())
        self.exact = exact

    def positions(self, count: int, delay: int, rate: int, like: Tensor) -> Tensor:
        """Numbers (count,) of the columns that a step sees of a signal with `rate` columns a frame, `delay` of them
        late."""
        return torch.arange(count, device=like.device) + (self.start * rate - delay)

    def inside(self, count: int, delay: int, rate: int, like: Tensor) -> Tensor | None:
        """Which of them are within the signal, (B or 1, count); None if all are."""
        if not self.exact:
            first = self.start * rate - delay
            if first >= 0 and (self._shortest is None or first + count <= self._shortest * rate):
                return None
        position = self.positions(count, delay, rate, like)
        inside = (position >= 0)[None]
        if self.length is not None:
            inside = inside & (position < self.length[:, None] * rate)
        return inside

    def mask(self, x: Tensor, delay: int, rate: int) -> Tensor:
        """x (B, n, C) with zeros outside the signal."""
        inside = self.inside(x.shape[1], delay, rate, x)
        return x if inside is None else x * inside[..., None].to(x.dtype)
