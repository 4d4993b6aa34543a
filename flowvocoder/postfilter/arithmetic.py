"""What an iteration computes for every bin: by PyTorch, or as machine code on the CPU in a quarter of the time."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.stft import frames, magnitude, overlap_add, power
from flowvocoder.postfilter.filters import Filters
from flowvocoder.postfilter.schedule import LIMITS
from flowvocoder.units import LANES

TOGETHER = 2**18
"""Samples in frames that are worked on at once on a CPU: 1 MB."""


class Bands(Protocol):
    """The frames and mel bands of `MelConsistency`."""

    window: Tensor
    synthesis: Tensor
    size: int
    stride: int

    @property
    def filters(self) -> Filters:
        """As machine code reads them."""

    @property
    def windows(self) -> Any:
        """Of analysis and synthesis, as machine code reads them."""

    def gains(self, spectrum: Tensor, target: Tensor, inside: Tensor | None) -> Tensor:
        """By how many nats bins have to grow: as `Arithmetic.corrected` -> (B, F, bins)."""


class Arithmetic:
    """By PyTorch: differentiable, on any device, in any precision."""

    def windows(self, audio: Tensor, window: Tensor, stride: int, count: int) -> Tensor:
        """The first frames, times the window: (B, T), (size,) -> (B, count, size)."""
        return frames(audio, len(window), stride, count) * window

    def correct(
        self, signal: Tensor, audio: Tensor, target: Tensor, inside: Tensor | None, bands: Bands, length: float = 1.0
    ) -> None:
        """Adds to a signal what frames of audio lack to have the levels of a target.

        Args:
            inside: which frames to correct; None: all.
            length: of the move, as in `postfilter.schedule`.

        Shape:
            signal, audio: (B, >= (F - 1) * stride + size), target: nats (B, F, C), inside: (B, F)
        """
        stride, window, synthesis = bands.stride, bands.window.to(audio.dtype), bands.synthesis.to(audio.dtype)
        for start, count in parts(target.shape[1], bands.size, audio):
            place, now = start * stride, slice(start, start + count)
            spectrum = torch.fft.rfft(self.windows(audio[:, place:], window, stride, count))
            which = None if inside is None else inside[:, now]
            change = self.corrected(spectrum, target[:, now], which, bands, length)
            self.add(signal[:, place:], torch.fft.irfft(change, bands.size), synthesis, stride)

    def corrected(
        self, spectrum: Tensor, target: Tensor, inside: Tensor | None, bands: Bands, length: float = 1.0
    ) -> Tensor:
        """What to add to a spectrum so that bands have the levels of a target; phases stay.

        The spectrum may be overwritten.

        Args:
            inside: which frames to change; None: all.
            length: of the move, as in `postfilter.schedule`.

        Shape:
            spectrum: complex (B, F, K), target: nats (B, F, C), inside: (B, F) -> (B, F, bins or K)
        """
        factor = torch.expm1(bands.gains(spectrum, target, inside))
        if length != 1.0:
            factor = (length * factor).clamp(*LIMITS)
        return spectrum[..., : factor.shape[-1]] * factor

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
            spectrum: (B, J, K), target, floor: (B, J, bins), inside: (J, 1) or (B, J, 1) -> (B, J, bins or K)
        """
        used = spectrum[..., : target.shape[-1]]
        gain = target / (magnitude(used) + floor)
        return used * ((gain.clamp(np.exp(-most), np.exp(most)) - 1.0) * inside)

    def over_level(
        self, spectrum: Tensor, level: Tensor, faint: float, lowest: float, limits: tuple[float, float]
    ) -> Tensor:
        """Log magnitudes over a level that n spectra in a row share, within limits.

        Args:
            faint: a power that makes no difference.
            lowest: of the level, in nats.

        Shape:
            spectrum: complex (B, F * n, K), level: (B, F, K) -> (B, F * n, K)
        """
        level = level.clamp_min(lowest).repeat_interleave(spectrum.shape[1] // max(1, level.shape[1]), 1)
        return (0.5 * power(spectrum, faint).log() - level).clamp(*limits)

    def bounded(self, x: Tensor, most: float) -> Tensor:
        """x / (1 + |x| / most), within -most..most."""
        return x / (1.0 + x.abs() / most)

    def add(self, signal: Tensor, change: Tensor, synthesis: Tensor, stride: int) -> None:
        """Adds frames (B, J, size), times a window (size,), to a signal (B, T); what lies after its end is left out."""
        count, size = change.shape[1:]
        # What is traced for export does not know how long signals are.
        if size % stride or torch.compiler.is_compiling() or (count - 1) * stride + size > signal.shape[1]:
            total = overlap_add(change * synthesis, stride)
            signal[:, : total.shape[1]] += total[:, : signal.shape[1]]
            return
        for place in range(0, size, stride):  # of each frame a stretch that no other one's overlaps
            now = slice(place, place + stride)
            stretch = signal[:, place : place + count * stride].unflatten(1, (count, stride))
            stretch.addcmul_(change[:, :, now], synthesis[now])


PYTORCH = Arithmetic()


class MachineCode(Arithmetic):
    """By numba, where numbers are float32 on the CPU and nobody asks for gradients; else as `Arithmetic`.

    Raises:
        ConfigError: numba is not installed.
    """

    def __init__(self) -> None:
        from flowvocoder.lanes.fourier import plan
        from flowvocoder.postfilter import loops, side_by_side

        self._loops, self._side_by_side, self._plan = loops, side_by_side, plan

    def correct(
        self, signal: Tensor, audio: Tensor, target: Tensor, inside: Tensor | None, bands: Bands, length: float = 1.0
    ) -> None:
        """As `Arithmetic.correct`."""
        size, stride = bands.size, bands.stride
        known = size >= 4 and not size & (size - 1) and stride % LANES == 0
        if not (known and _plain(signal) and _plain(audio) and _plain(target)):
            super().correct(signal, audio, target, inside, bands, length)
        elif target.shape[1]:
            which = np.ones(target.shape[:2], np.bool_) if inside is None else inside.contiguous().numpy()
            given = signal.numpy(), audio.numpy(), target.contiguous().numpy(), which, stride
            frames = bands.windows, self._plan(size), bands.filters
            self._side_by_side.correct(*given, *frames, np.float32(length))

    def windows(self, audio: Tensor, window: Tensor, stride: int, count: int) -> Tensor:
        """As `Arithmetic.windows`."""
        if not _plain(audio):
            return super().windows(audio, window, stride, count)
        count = max(0, min(count, (audio.shape[1] - len(window)) // stride + 1))
        found = audio.new_empty(len(audio), count, len(window))
        self._loops.windows(audio.numpy(), window.numpy(), stride, found.numpy())
        return found

    def add(self, signal: Tensor, change: Tensor, synthesis: Tensor, stride: int) -> None:
        """As `Arithmetic.add`."""
        if not (_plain(signal) and _plain(change)):
            super().add(signal, change, synthesis, stride)
        else:
            self._loops.overlap_add(change.numpy(), synthesis.numpy(), stride, signal.numpy())

    def over_level(
        self, spectrum: Tensor, level: Tensor, faint: float, lowest: float, limits: tuple[float, float]
    ) -> Tensor:
        """As `Arithmetic.over_level`."""
        if not (_plain(spectrum) and _plain(level)):
            return super().over_level(spectrum, level, faint, lowest, limits)
        found = torch.empty(spectrum.shape, dtype=torch.float32, device="cpu")
        numbers = map(np.float32, (faint, lowest, *limits))
        self._loops.over_level(_parts(spectrum), _rows(level), *numbers, _rows(found))
        return found

    def bounded(self, x: Tensor, most: float) -> Tensor:
        """As `Arithmetic.bounded`."""
        if not _plain(x):
            return super().bounded(x, most)
        found = torch.empty_like(x, memory_format=torch.contiguous_format)
        self._loops.bounded(_rows(x), np.float32(most), _rows(found))
        return found

    def corrected(
        self, spectrum: Tensor, target: Tensor, inside: Tensor | None, bands: Bands, length: float = 1.0
    ) -> Tensor:
        """As `Arithmetic.corrected`, of all bins."""
        if not (_plain(spectrum) and _plain(target)):
            return super().corrected(spectrum, target, inside, bands, length)
        which = np.ones(target.shape[:2], np.bool_) if inside is None else inside.numpy()
        self._loops.corrected(_parts(spectrum), _rows(target), which.reshape(-1), bands.filters, np.float32(length))
        return spectrum

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


def parts(count: int, size: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Where parts of `count` frames of so many samples begin, and how long they are.

    What is made of a part stays in the second cache of a CPU, which is worth more than few calls. A GPU takes all, and
    so does a traced program, whose lengths are not known.
    """
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return iter([(0, count)] if count > 0 else [])
    most = max(1, TOGETHER // (size * len(like)))
    return ((start, min(most, count - start)) for start in range(0, count, most))


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
