"""What an iteration computes for every bin: by PyTorch, or as machine code on the CPU in a quarter of the time."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.stft import frames, magnitude, overlap_add
from flowvocoder.units import ceil_div


class Arithmetic:
    """By PyTorch: differentiable, on any device, in any precision."""

    def windows(self, audio: Tensor, window: Tensor, stride: int, count: int) -> Tensor:
        """The first frames, times the window: (B, T), (size,) -> (B, count, size)."""
        return frames(audio, len(window), stride, count) * window

    def magnitude(self, spectrum: Tensor, bins: int, floor: float) -> Tensor:
        """sqrt(|X|^2 + floor) of the first bins: complex (..., K) -> (..., bins)."""
        return magnitude(spectrum[..., :bins], floor)

    def gain(self, level: Tensor, target: Tensor, floor: float, most: Tensor, least: float) -> Tensor:
        """How far the log of a level, at least of `floor`, is below its target: (..., C) -> within least..most (C,)."""
        return torch.minimum((target - level.clamp_min(floor).log()).clamp_min(least), most)

    def change(self, spectrum: Tensor, gain: Tensor) -> Tensor:
        """What to add to bins so that they grow by a gain in nats: complex (..., K), (..., bins) -> (..., bins or K).

        The spectrum may be overwritten.
        """
        return spectrum[..., : gain.shape[-1]] * torch.expm1(gain)

    def towards(self, spectrum: Tensor, target: Tensor, floor: Tensor, most: float, inside: Tensor) -> Tensor:
        """What to add to bins so that |X| + floor is `target`, at most `most` nats.

        The spectrum may be overwritten.

        Args:
            inside: what the change of every frame is times.

        Shape:
            spectrum: (B, J, K), target, floor: (B, J, bins), inside: (J, 1) -> (B, J, bins or K)
        """
        used = spectrum[..., : target.shape[-1]]
        gain = target / (magnitude(used) + floor)
        return used * ((gain.clamp(np.exp(-most), np.exp(most)) - 1.0) * inside)

    def overlap_add(self, change: Tensor, synthesis: Tensor, stride: int) -> Tensor:
        """The sum of frames (B, J, size), times a window (size,): as `audio.stft.overlap_add`."""
        return overlap_add(change * synthesis, stride)


PYTORCH = Arithmetic()


class MachineCode(Arithmetic):
    """By numba, where numbers are float32 on the CPU and nobody asks for gradients; else as `Arithmetic`.

    Raises:
        ConfigError: numba is not installed.
    """

    def __init__(self) -> None:
        from flowvocoder.postfilter import loops

        self._loops = loops

    def windows(self, audio: Tensor, window: Tensor, stride: int, count: int) -> Tensor:
        """As `Arithmetic.windows`."""
        if not _plain(audio):
            return super().windows(audio, window, stride, count)
        count = max(0, min(count, (audio.shape[1] - len(window)) // stride + 1))
        found = audio.new_empty(len(audio), count, len(window))
        self._loops.windows(_rows(audio), window.numpy(), stride, found.numpy())
        return found

    def overlap_add(self, change: Tensor, synthesis: Tensor, stride: int) -> Tensor:
        """As `Arithmetic.overlap_add`."""
        if not _plain(change):
            return super().overlap_add(change, synthesis, stride)
        count, size = change.shape[1:]
        total = change.new_zeros(len(change), (count - 1 + ceil_div(size, stride)) * stride)
        self._loops.overlap_add(change.numpy(), synthesis.numpy(), stride, total.numpy())
        return total

    def magnitude(self, spectrum: Tensor, bins: int, floor: float) -> Tensor:
        """As `Arithmetic.magnitude`."""
        if not _plain(spectrum):
            return super().magnitude(spectrum, bins, floor)
        found = torch.empty(*spectrum.shape[:-1], bins, dtype=torch.float32, device="cpu")
        self._loops.magnitude(_parts(spectrum), _rows(found), np.float32(floor))
        return found

    def gain(self, level: Tensor, target: Tensor, floor: float, most: Tensor, least: float) -> Tensor:
        """As `Arithmetic.gain`; the level is overwritten."""
        if not (_plain(level) and _plain(target)):
            return super().gain(level, target, floor, most, least)
        self._loops.gain(_rows(level), _rows(target), np.float32(floor), most.numpy(), np.float32(least))
        return level

    def change(self, spectrum: Tensor, gain: Tensor) -> Tensor:
        """As `Arithmetic.change`, of all bins: 0 after those that have a gain."""
        if not (_plain(spectrum) and _plain(gain)):
            return super().change(spectrum, gain)
        self._loops.change(_parts(spectrum), _rows(gain))
        return spectrum

    def towards(self, spectrum: Tensor, target: Tensor, floor: Tensor, most: float, inside: Tensor) -> Tensor:
        """As `Arithmetic.towards`, of all bins."""
        if not (_plain(spectrum) and _plain(target)):
            return super().towards(spectrum, target, floor, most, inside)
        limits = np.float32(np.exp(-most)), np.float32(np.exp(most))
        self._loops.towards(_parts(spectrum), _rows(target), _rows(floor), _rows(inside)[:, 0], *limits)
        return spectrum


def _plain(x: Tensor) -> bool:
    """Whether machine code may read, and write, a tensor."""
    wanted = torch.is_grad_enabled() and x.requires_grad
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.complex64) and not wanted


def _rows(x: Tensor) -> Any:
    """(..., C) -> an array (R, C), which is a view where x is contiguous."""
    return x.contiguous().numpy().reshape(-1, x.shape[-1])


def _parts(spectrum: Tensor) -> Any:
    """Complex (..., K), contiguous -> real and imaginary parts in turns, (R, 2 K), a view."""
    return torch.view_as_real(spectrum).numpy().reshape(-1, 2 * spectrum.shape[-1])
