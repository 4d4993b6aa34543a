"""What an iteration computes for every bin: by PyTorch, or as machine code on the CPU in a quarter of the time."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.stft import frames, magnitude, overlap_add
from flowvocoder.extras import machine_code
from flowvocoder.units import ceil_div

Loop: TypeAlias = Callable[..., None]

LN2 = 0.6931471805599453

# ln(1 + f) = f - f^2 / 2 + f^3 P(f) for f from sqrt(1/2) - 1 to sqrt(2) - 1: P by least squares, 3e-10 off.
LOG = (0.33333313, -0.25000028, 0.20002190, -0.16667142, 0.14216945, -0.12417445, 0.11919887, -0.11624543, 0.06618167)
# e^r to r^7 / 7!, for r within ln(2) / 2 of 0: 6e-9 off.
EXP = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)


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
    """By numba, where numbers are float32 on the CPU and nobody asks for gradients; else as `Arithmetic`."""

    def windows(self, audio: Tensor, window: Tensor, stride: int, count: int) -> Tensor:
        """As `Arithmetic.windows`."""
        if not _plain(audio):
            return super().windows(audio, window, stride, count)
        count = max(0, min(count, (audio.shape[1] - len(window)) // stride + 1))
        found = audio.new_empty(len(audio), count, len(window))
        _loop(_windows)(_rows(audio), window.numpy(), stride, found.numpy())
        return found

    def overlap_add(self, change: Tensor, synthesis: Tensor, stride: int) -> Tensor:
        """As `Arithmetic.overlap_add`."""
        if not _plain(change):
            return super().overlap_add(change, synthesis, stride)
        count, size = change.shape[1:]
        total = change.new_zeros(len(change), (count - 1 + ceil_div(size, stride)) * stride)
        _loop(_overlap_add)(change.numpy(), synthesis.numpy(), stride, total.numpy())
        return total

    def magnitude(self, spectrum: Tensor, bins: int, floor: float) -> Tensor:
        """As `Arithmetic.magnitude`."""
        if not _plain(spectrum):
            return super().magnitude(spectrum, bins, floor)
        found = torch.empty(*spectrum.shape[:-1], bins, dtype=torch.float32, device="cpu")
        _loop(_magnitude)(_parts(spectrum), _rows(found), np.float32(floor))
        return found

    def gain(self, level: Tensor, target: Tensor, floor: float, most: Tensor, least: float) -> Tensor:
        """As `Arithmetic.gain`; the level is overwritten."""
        if not (_plain(level) and _plain(target)):
            return super().gain(level, target, floor, most, least)
        _loop(_gain)(_rows(level), _rows(target), np.float32(floor), most.numpy(), np.float32(least))
        return level

    def change(self, spectrum: Tensor, gain: Tensor) -> Tensor:
        """As `Arithmetic.change`, of all bins: 0 after those that have a gain."""
        if not (_plain(spectrum) and _plain(gain)):
            return super().change(spectrum, gain)
        _loop(_change)(_parts(spectrum), _rows(gain))
        return spectrum

    def towards(self, spectrum: Tensor, target: Tensor, floor: Tensor, most: float, inside: Tensor) -> Tensor:
        """As `Arithmetic.towards`, of all bins."""
        if not (_plain(spectrum) and _plain(target)):
            return super().towards(spectrum, target, floor, most, inside)
        limits = np.float32(np.exp(-most)), np.float32(np.exp(most))
        _loop(_towards)(_parts(spectrum), _rows(target), _rows(floor), _rows(inside)[:, 0], *limits)
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


@functools.cache
def _loop(function: Loop) -> Loop:
    """As machine code; compiling takes a second, once. Raises ConfigError: numba is not installed."""
    # Loops that are simple enough to be vectorised. The C library's logarithm and exponential are not: hence our own.
    compiled: Loop = machine_code(function, fastmath={"contract", "arcp"}, error_model="numpy", nogil=True)
    return compiled


def _windows(audio: Any, window: Any, stride: int, found: Any) -> None:
    for item in range(found.shape[0]):
        for frame in range(found.shape[1]):
            stretch, weighted = audio[item, frame * stride :], found[item, frame]
            for i in range(len(window)):
                weighted[i] = stretch[i] * window[i]


def _overlap_add(change: Any, synthesis: Any, stride: int, total: Any) -> None:
    for item in range(change.shape[0]):
        for frame in range(change.shape[1]):
            stretch, own = total[item, frame * stride :], change[item, frame]
            for i in range(len(synthesis)):
                stretch[i] += own[i] * synthesis[i]


def _magnitude(parts: Any, found: Any, floor: Any) -> None:
    for row in range(found.shape[0]):
        for k in range(found.shape[1]):
            real, imaginary = parts[row, 2 * k], parts[row, 2 * k + 1]
            found[row, k] = np.sqrt(real * real + imaginary * imaginary + floor)


def _gain(level: Any, target: Any, floor: Any, most: Any, least: Any) -> None:
    one, half, ln2 = np.float32(1.0), np.float32(0.5), np.float32(LN2)
    flat, wanted = level.reshape(-1), target.reshape(-1)
    for i in range(flat.size):
        bits = np.float32(max(flat[i], floor)).view(np.int32)
        # The power of two that leaves a factor between sqrt(1/2) and sqrt(2).
        power = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
        f = np.int32(bits - np.int32(power << np.int32(23))).view(np.float32) - one
        p = np.float32(LOG[8])
        for n in range(7, -1, -1):
            p = p * f + np.float32(LOG[n])
        flat[i] = wanted[i] - (f + f * f * (f * p - half) + np.float32(power) * ln2)
    for row in range(level.shape[0]):
        for band in range(level.shape[1]):
            level[row, band] = min(max(level[row, band], least), most[band])


def _change(parts: Any, gain: Any) -> None:
    one, half, per_nat = np.float32(1.0), np.float32(0.5), np.float32(1.0 / LN2)
    # ln(2) in two parts, of which the first has few bits: whole multiples of it are exact.
    high, low = np.float32(0.693359375), np.float32(LN2 - 0.693359375)
    for row in range(gain.shape[0]):
        for k in range(gain.shape[1]):
            power = np.floor(gain[row, k] * per_nat + half)
            r = gain[row, k] - power * high - power * low
            p = np.float32(EXP[7])
            for n in range(6, -1, -1):
                p = p * r + np.float32(EXP[n])
            scale = np.int32(np.int32(np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
            factor = p * scale - one
            parts[row, 2 * k] *= factor
            parts[row, 2 * k + 1] *= factor
        parts[row, 2 * gain.shape[1] :] = np.float32(0.0)


def _towards(parts: Any, target: Any, floor: Any, inside: Any, least: Any, most: Any) -> None:
    one = np.float32(1.0)
    for row in range(target.shape[0]):
        for k in range(target.shape[1]):
            real, imaginary = parts[row, 2 * k], parts[row, 2 * k + 1]
            gain = target[row, k] / (np.sqrt(real * real + imaginary * imaginary) + floor[row, k])
            factor = (min(max(gain, least), most) - one) * inside[row % len(inside)]
            parts[row, 2 * k] = real * factor
            parts[row, 2 * k + 1] = imaginary * factor
        parts[row, 2 * target.shape[1] :] = np.float32(0.0)
