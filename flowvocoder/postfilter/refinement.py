"""The refiner's masks on audio of any length, as it comes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic, parts
from flowvocoder.postfilter.refiner import MEL_AHEAD, SHORT_FRAMES, Refiner
from flowvocoder.postfilter.stages import joined, split


class Refinement:
    """Masks of long frames, then of short ones, as a `Stage`. Differentiable.

    Args:
        refiner: the network.
        lengths: frames of each item in all, (B,), where they differ.
        precision: of the network; None: that of the audio.
        arithmetic: what computes for every bin.
    """

    def __init__(
        self,
        refiner: Refiner,
        lengths: Tensor | None = None,
        precision: torch.dtype | None = None,
        arithmetic: Arithmetic = PYTORCH,
    ):
        self._refiner, self._lengths, self._precision, self._arithmetic = refiner, lengths, precision, arithmetic
        self.behind = max(refiner.size, refiner.left + (1 + MEL_AHEAD) * refiner.hop) + refiner.short_size
        self._states: list[Tensor] | None = None
        self._mel: Tensor | None = None  # from the next frame on
        self._frame = 0  # the next one
        self._audio: Tensor | None = None  # from where the next frame begins on
        self._long: Tensor | None = None  # the same with what long frames have changed
        self._short: Tensor | None = None  # from where the next short frame begins on, after the long ones
        self._result: Tensor | None = None  # the same with what short frames have changed
        self._said: Tensor | None = None  # masks of the next short frames
        self._given = -refiner.short_left  # sample at which these begin
        self._early = refiner.left - refiner.short_left  # samples that long frames have before the first short one
        self._taken = 0  # samples that have come in

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        net = self._refiner
        audio = self._inside(audio, self._taken)
        self._taken += audio.shape[1]
        if self._audio is None:
            start = audio.new_zeros(len(audio), net.left)
            self._audio, self._long, self._states = start, start, net.fresh(audio)
        self._audio, self._long = joined(self._audio, audio), joined(self._long, audio)
        self._mel = joined(self._mel, mel, 2)
        count = (self._audio.shape[1] - net.size) // net.hop + 1
        if ends:
            count = self._mel.shape[2]
            missing = count * net.hop + net.size - self._audio.shape[1]
            self._audio, self._long = (F.pad(x, (0, max(0, missing))) for x in (self._audio, self._long))
        else:
            count = min(count, self._mel.shape[2] - MEL_AHEAD)
        begin = self._frame * net.hop - net.left
        if count > 0:
            self._refine(count, ends)
        ready = self._taken - begin if ends else max(0, count) * net.hop
        done, self._long = split(self._long, ready)
        self._audio = self._audio[:, ready:]
        return self._in_short(done, ends)

    def _refine(self, count: int, ends: bool) -> None:
        """Change the next long frames, and keep the masks of their short ones."""
        net = self._refiner
        assert self._mel is not None and self._audio is not None and self._long is not None and self._states is not None
        dtype, first, said = self._audio.dtype, net.left - net.short_left, []
        audio, self._long = self._audio, self._long.clone()
        for start, now in parts(count, net.size, audio):
            spectrum = torch.fft.rfft(self._arithmetic.windows(audio, net.window.to(dtype), net.hop, now))
            short = self._short_spectra(audio[:, first:], now * SHORT_FRAMES)
            mel = self._ahead(now, ends).to(dtype)
            masks, self._states = net(spectrum, short, mel, self._states, self._precision, self._arithmetic)
            inside = self._frames_inside(now)
            long, in_short = masks
            if inside is not None:
                long = long * inside[..., None]
                in_short = in_short * inside.repeat_interleave(SHORT_FRAMES, 1)[..., None]
            change = torch.fft.irfft(self._arithmetic.change(spectrum, long), net.size)
            self._arithmetic.add(self._long[:, start * net.hop :], change, net.synthesis.to(dtype), net.hop)
            said.append(in_short)
            self._frame, self._mel, audio = self._frame + now, self._mel[:, :, now:], audio[:, now * net.hop :]
        self._said = torch.cat(said if self._said is None else [self._said, *said], 1)

    def _in_short(self, audio: Tensor, ends: bool) -> Tensor:
        """Samples (B, T) that long frames are done with -> what short frames are done with."""
        net = self._refiner
        _, audio = split(audio, before := min(self._early, audio.shape[1]))
        self._early -= before
        start = self._given + (0 if self._short is None else self._short.shape[1])
        audio = self._inside(audio, start)
        self._short, self._result = joined(self._short, audio), joined(self._result, audio)
        if ends:
            self._short = F.pad(self._short, (0, net.short_size))
        known = 0 if self._said is None else self._said.shape[1]
        count = min(known, (self._short.shape[1] - net.short_size) // net.short_hop + 1)
        if count > 0 and self._said is not None:
            now, self._said = self._said[:, :count], self._said[:, count:]
            self._result, synthesis = self._result.clone(), net.short_synthesis.to(audio.dtype)
            for start, part in parts(count, net.short_size, audio):
                spectra = self._short_spectra(self._short[:, start * net.short_hop :], part)
                change = self._arithmetic.change(spectra, now[:, start : start + part])
                change = torch.fft.irfft(change, net.short_size)
                self._arithmetic.add(self._result[:, start * net.short_hop :], change, synthesis, net.short_hop)
        ready = self._result.shape[1] if ends else max(0, count) * net.short_hop
        done, self._result = split(self._result, ready)
        self._short = self._short[:, ready:]
        first, self._given = self._given, self._given + ready
        return self._inside(done, first)[:, max(0, -first) :]

    def _short_spectra(self, audio: Tensor, count: int) -> Tensor:
        """(B, T) -> complex (B, count, bins)"""
        net = self._refiner
        return torch.fft.rfft(self._arithmetic.windows(audio, net.short_window.to(audio.dtype), net.short_hop, count))

    def _ahead(self, count: int, ends: bool) -> Tensor:
        """The mel of the next frames and of those after them that are looked at; beyond the end, that of the last."""
        assert self._mel is not None
        mel = self._mel[:, :, : count + MEL_AHEAD]
        if ends:
            mel = F.pad(mel, (0, count + MEL_AHEAD - mel.shape[2]), mode="replicate")
        if self._lengths is None:
            return mel
        last = (self._lengths - 1 - self._frame).clamp(0, mel.shape[2] - 1)
        place = torch.arange(mel.shape[2], device=mel.device).minimum(last[:, None])
        return mel.gather(2, place[:, None].expand(-1, mel.shape[1], -1))

    def _frames_inside(self, count: int) -> Tensor | None:
        """Which of the next frames belong to their item, (B, count)."""
        if self._lengths is None:
            return None
        number = self._frame + torch.arange(count, device=self._lengths.device)
        return number < self._lengths[:, None]

    def _inside(self, audio: Tensor, start: int) -> Tensor:
        """Samples from `start` on, those after the end of their item as zeros."""
        if self._lengths is None:
            return audio
        position = torch.arange(start, start + audio.shape[1], device=audio.device)
        return audio * (position < self._lengths[:, None] * self._refiner.hop)
