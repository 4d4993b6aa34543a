"""Bringing audio nearer to the mel it was made from: one half of Griffin and Lim's iteration, with mel bands."""

import math

import torch
from torch import Tensor, nn

from flowvocoder.mel.frontend import MelFrontEnd, edge_padding
from flowvocoder.mel.spec import MelSpec

LARGEST = 2.0
"""Largest correction of a band in one pass, in nats (17 dB)."""


class MelMatch(nn.Module):
    """Corrects the level of every mel band in every frame of audio to what a mel says; phases stay.

    A flow draws a waveform whose mel is the given one on average. Its own harmonics and noise scatter around that, most
    audibly in the lowest kilohertz, where mel bands are as narrow as harmonics. As in the algorithm of Griffin and Lim
    (1984) the short-time spectra of the audio are given the magnitudes that are asked for and overlapped and added
    again, weighted by least squares; here by a gain for each mel band, interpolated over the bins between their
    centres, since the mel says no more.

    One pass takes every `every`-th frame, which overlap by half; the next pass takes those between, and knows what the
    first has done. So two passes cost what one over all frames does, and come nearer.

    Frames that are not whole inside the signal are left as they are.

    Attributes:
        every: frames from one to the next in a pass.
        stride: the same in samples.
        left: samples of its window before a frame's own first sample.
    """

    window: Tensor
    synthesis: Tensor
    to_bins: Tensor

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.spec = spec
        front_end = MelFrontEnd(spec)
        before = (spec.n_fft - spec.win_length) // 2
        window = torch.zeros(spec.n_fft)
        window[before : before + spec.win_length] = front_end.window
        self.every = max(1, spec.win_length // (2 * spec.hop_length))
        self.stride = self.every * spec.hop_length
        self.left = edge_padding(spec)[0]
        self.pieces = math.ceil(spec.n_fft / self.stride)
        padded = torch.nn.functional.pad(window, (0, self.pieces * self.stride - spec.n_fft))
        overlapped = padded.square().view(self.pieces, self.stride).sum(0).clamp_min(0.1)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("synthesis", padded / overlapped.repeat(self.pieces), persistent=False)
        self.register_buffer("filterbank", front_end.filterbank, persistent=False)
        # Triangles of height 1 are what interpolates between their tips.
        triangles = front_end.filterbank / front_end.filterbank.amax(1, keepdim=True).clamp_min(1e-12)
        self.register_buffer("to_bins", triangles / triangles.sum(0).clamp_min(1e-3), persistent=False)
        self.nats = math.log(10.0) if spec.log == "log10" else 1.0  # a unit of the mel

    def forward(self, audio: Tensor, mel: Tensor, passes: int) -> Tensor:
        """Whole signals, (B, F * hop_length) and (B, n_mels, F), after so many passes; differentiable."""
        for number in range(passes):
            first = self.first_frame(number)
            start = first * self.spec.hop_length - self.left
            count = (audio.shape[1] - start - self.spec.n_fft) // self.stride + 1
            if count < 1:
                return audio
            added = self.correction(audio[:, start:], mel[:, :, first :: self.every][..., :count])
            after = audio.shape[1] - start - added.shape[1]
            audio = audio + torch.nn.functional.pad(added, (start, max(0, after)))[:, : audio.shape[1]]
        return audio

    def first_frame(self, number: int) -> int:
        """The first frame of a pass that is whole inside the signal."""
        earliest = -(-self.left // self.spec.hop_length)
        return earliest + (number - earliest) % self.every

    def correction(self, audio: Tensor, mel: Tensor, inside: Tensor | None = None) -> Tensor:
        """What to add to audio so that its frames, `stride` apart from the first sample on, have this mel.

        Args:
            inside: which frames to correct.

        Shape:
            audio: (B, >= (F - 1) * stride + n_fft), mel: (B, n_mels, F), inside: (B, F)
            -> (B, (F - 1 + pieces) * stride), zeros after the last frame
        """
        frames = audio.unfold(1, self.spec.n_fft, self.stride)[:, : mel.shape[2]]
        spectrum = torch.fft.rfft(frames * self.window.to(audio.dtype))
        power = spectrum.real.square() + spectrum.imag.square()
        magnitude = (power + max(self.spec.magnitude_eps, 1e-20)).sqrt()
        level = (magnitude @ self.filterbank.to(audio.dtype).T).clamp_min(self.spec.floor)
        gain = (self.nats * mel.transpose(1, 2) - level.log()).clamp(-LARGEST, LARGEST)
        if inside is not None:
            gain = gain * inside[..., None]
        change = torch.expm1(gain @ self.to_bins.to(audio.dtype))
        added = torch.fft.irfft(spectrum * change, self.spec.n_fft)
        added = torch.nn.functional.pad(added, (0, self.pieces * self.stride - self.spec.n_fft))
        added = (added * self.synthesis.to(audio.dtype)).unflatten(2, (self.pieces, self.stride))
        count = added.shape[1]
        total = added.new_zeros(len(added), count + self.pieces - 1, self.stride)
        for piece in range(self.pieces):
            total[:, piece : piece + count] += added[:, :, piece]
        return total.flatten(1)
