"""The lapped orthogonal transform that takes the place of WaveGlow's squeeze."""

import functools
import math

import torch
from torch import Tensor

from flowvocoder.flows.base import Bijection, full_precision, no_volume_change
from flowvocoder.flows.convolution import Product
from flowvocoder.flows.streaming import (
    Context,
    NoStreamingStep,
    StepSettings,
    StreamingStep,
    StreamPosition,
    StreamState,
    require_columns,
    step_for,
)
from flowvocoder.inference import plain_defaults


def dct_iv(size: int) -> Tensor:
    """Orthonormal DCT-IV matrix, (size, size) float64: symmetric, its own inverse."""
    n = torch.arange(size, dtype=torch.float64) + 0.5
    return math.sqrt(2.0 / size) * torch.cos(math.pi / size * torch.outer(n, n))


@functools.lru_cache(maxsize=16)
def rotation_tables(block: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Sine and cosine (M/2,) of the rotations, and the basis (M, M) that a rotated block is multiplied with."""
    # Made from float64 for each dtype rather than kept as buffers: a buffer rounded to float32 and moved back to
    # float64 would no longer be orthogonal to float64 precision.
    # Nor made in inference mode: training could not use them then.
    with torch.inference_mode(False), plain_defaults():
        return _make_tables(block, dtype, device)


def _make_tables(block: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    angle = math.pi / (2 * block) * (block / 2 + torch.arange(block // 2, dtype=torch.float64) + 0.5)
    # The sign and the order that turn the DCT-IV into the MDCT are folded into the matrix: X = DCT-IV(reversed(-y)).
    basis = -dct_iv(block).flip(1)
    return tuple(t.to(device=device, dtype=dtype) for t in (angle.sin(), angle.cos(), basis))  # type: ignore[return-value]


class LappedTransform(Bijection):
    """Sine-window MDCT as an exact bijection on a finite signal: (B, 1, N*M) -> (B, M, N), log-det 0.

    Givens rotations mix the last M/2 samples of each block with the mirrored first M/2 of the next (none at the two
    ends of the signal), then each block goes through an orthonormal DCT-IV. Both steps are orthogonal, so inverse is
    transpose and volume is preserved. In the interior the result equals the sine-window MDCT (Princen and Bradley
    1986; the lattice form is Malvar's, 1992), with no edge frame.

    Args:
        block: M, samples per block, even. The transform looks M/2 samples ahead.
    """

    def __init__(self, block: int):
        super().__init__()
        if block < 2 or block % 2:
            raise ValueError(f"block must be even and at least 2, not {block}")
        self.block = block

    @full_precision
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        sin, cos, basis = rotation_tables(self.block, x.dtype, x.device)
        y = self._rotate(x.reshape(x.shape[0], -1, self.block), sin, cos)
        return torch.einsum("km,bnm->bkn", basis, y), no_volume_change(x)

    @full_precision
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        sin, cos, basis = rotation_tables(self.block, z.dtype, z.device)
        y = torch.einsum("km,bkn->bnm", basis, z)
        return self._rotate(y, sin, -cos).reshape(z.shape[0], 1, -1)

    def _rotate(self, blocks: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        """Rotate (B, N, M) across its N - 1 inner boundaries."""
        half = self.block // 2
        tail = blocks[:, :-1, half:].flip(-1)
        head = blocks[:, 1:, :half]
        new_tail = (sin * tail + cos * head).flip(-1)
        new_head = sin * head - cos * tail
        first_head, last_tail = blocks[:, :1, :half], blocks[:, -1:, half:]
        return torch.cat([torch.cat([first_head, new_head], 1), torch.cat([new_tail, last_tail], 1)], 2)

    def extra_repr(self) -> str:
        return f"block={self.block}"


@step_for(LappedTransform)
class LappedTransformStep(StreamingStep):
    """Its inverse: the second half of a block is there with the next one."""

    sin: Tensor
    cos: Tensor
    ahead = 1
    back = 1

    def __init__(self, layer: LappedTransform, settings: StepSettings):
        super().__init__(settings)
        require_columns(layer, settings)
        if layer.block != settings.block:
            raise NoStreamingStep(
                f"LappedTransform has no streaming step for blocks other than {settings.block} samples"
            )
        self.columns = layer.block
        sin, cos, basis = rotation_tables(layer.block, settings.dtype, settings.device)
        self.register_buffer("sin", sin)
        self.register_buffer("cos", cos)
        self.basis = Product(basis.T, None, settings.dtype)

    def forward(self, z: Tensor, context: Context, delay: int, position: StreamPosition, state: StreamState) -> Tensor:
        count, half = z.shape[1], z.shape[2] // 2
        y = state.extend(self.basis(z), 2)
        tail, head = y[:, :-1, half:].flip(-1), y[:, 1:, :half]
        new_tail, new_head = self.sin * tail - self.cos * head, self.sin * head + self.cos * tail
        # There are no rotations across the two ends of the signal.
        inside = position.inside(count + 2, delay + 2, z)
        if inside is not None:
            both = (inside[:, :-1] & inside[:, 1:])[..., None]
            new_tail, new_head = torch.where(both, new_tail, tail), torch.where(both, new_head, head)
        return torch.cat([new_head[:, :-1], new_tail[:, 1:].flip(-1)], 2)
