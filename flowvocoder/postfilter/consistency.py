"""Bringing audio nearer to the mel it was made from: Griffin and Lim's iteration, with mel bands."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.stft import magnitude
from flowvocoder.mel.frontend import MelFrontEnd, band_centres, edge_padding
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import ceil_div

LARGEST = 2.0
"""Largest correction of a band in one pass, in nats (17 dB)."""

LOW = (900.0, 1100.0)
"""Hz: the low bands are corrected in full below the first, and not at all above the second."""

ROW = 16
"""Low samples that are made at once, as one product of matrices, which is faster than convolution of one channel."""

MOMENTUM = 0.9
"""How much of its last step the low band goes on by. Above 1 it does not settle."""


class MelMatch(nn.Module):
    """Corrects the level of every mel band in every frame of audio to what a mel says; phases stay.

    A flow draws a waveform whose mel is the given one on average. Its own harmonics and noise scatter around that, most
    audibly in the lowest kilohertz, where mel bands are as narrow as harmonics. As in the algorithm of Griffin and Lim
    (1984) the short-time spectra of the audio are given the magnitudes that are asked for and overlapped and added
    again, weighted by least squares; here by a gain for each mel band, interpolated over the bins between their
    centres, since the mel says no more.

    One pass takes every `every`-th frame, which overlap by half; the next pass takes those between, and knows what the
    first has done. So two passes cost what one over all frames does, and come nearer. (Over the low bands alone, with
    momentum, one over all frames comes as near.)

    Frames that are not whole inside the signal are left as they are.

    Args:
        spec: of the mel.
        low: only the bands of `LOW` count, and the audio has only every `decimate`-th sample.

    Attributes:
        decimate: as `decimation` says, or 1.
        every: frames from one to the next in a pass.
        bands: how many mel bands count.
        hop, size, stride: samples from one frame to the next, in a window, and from one frame of a pass to the next.
        left: samples of its window before a frame's own first sample.
    """

    window: Tensor
    synthesis: Tensor
    filterbank: Tensor
    to_bins: Tensor

    def __init__(self, spec: MelSpec, low: bool = False):
        super().__init__()
        self.spec = spec
        self.decimate = decimate = decimation(spec) if low else 1
        front_end = MelFrontEnd(spec)
        self.every = 1 if low else max(1, spec.win_length // (2 * spec.hop_length))
        self.hop, self.size = spec.hop_length // decimate, spec.n_fft // decimate
        self.left = edge_padding(spec)[0] // decimate
        self.stride = self.every * self.hop
        before = (spec.n_fft - spec.win_length) // 2
        window = torch.zeros(spec.n_fft)
        window[before : before + spec.win_length] = front_end.window
        window = window[::decimate]
        self.pieces = math.ceil(self.size / self.stride)
        padded = F.pad(window, (0, self.pieces * self.stride - self.size))
        overlapped = padded.square().view(self.pieces, self.stride).sum(0).clamp_min(0.1)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("synthesis", padded / overlapped.repeat(self.pieces), persistent=False)
        weight = low_weight(spec) if low else torch.ones(spec.n_mels)
        self.bands = int(weight.count_nonzero())
        # Beyond the last band that counts nothing is looked at or changed.
        used = (front_end.filterbank[: self.bands] > 0).any(0).nonzero().flatten().tolist()
        bins = min(max(used, default=0) + 1, self.size // 2 + 1)
        # Spectra of every so-manieth sample are so much smaller. Transposed in memory, as it is used.
        filterbank = (decimate * front_end.filterbank[: self.bands, :bins]).T.contiguous()
        self.register_buffer("filterbank", filterbank, persistent=False)
        # Triangles of height 1 are what interpolates between their tips.
        triangles = front_end.filterbank / front_end.filterbank.amax(1, keepdim=True).clamp_min(1e-12)
        to_bins = weight[:, None] * triangles / triangles.sum(0).clamp_min(1e-3)
        self.register_buffer("to_bins", to_bins[: self.bands, : self.size // 2 + 1], persistent=False)
        self.nats = math.log(10.0) if spec.log == "log10" else 1.0  # a unit of the mel

    def forward(self, audio: Tensor, mel: Tensor, passes: int) -> Tensor:
        """Whole signals, (B, F * hop) and (B, n_mels, F), after so many passes; differentiable."""
        for number in range(passes):
            first = self.first_frame(number)
            start = first * self.hop - self.left
            count = (audio.shape[1] - start - self.size) // self.stride + 1
            if count < 1:
                return audio
            added = self.correction(audio[:, start:], mel[:, :, first :: self.every][..., :count])
            after = audio.shape[1] - start - added.shape[1]
            audio = audio + F.pad(added, (start, max(0, after)))[:, : audio.shape[1]]
        return audio

    def first_frame(self, number: int) -> int:
        """The first frame of a pass that is whole inside the signal."""
        earliest = -(-self.left // self.hop)
        return earliest + (number - earliest) % self.every

    def correction(self, audio: Tensor, mel: Tensor, inside: Tensor | None = None) -> Tensor:
        """What to add to audio so that its frames, `stride` apart from the first sample on, have this mel.

        Args:
            inside: which frames to correct.

        Shape:
            audio: (B, >= (F - 1) * stride + size), mel: (B, >= bands, F), inside: (B, F)
            -> (B, (F - 1 + pieces) * stride), zeros after the last frame
        """
        frames = audio.unfold(1, self.size, self.stride)[:, : mel.shape[2]]
        spectrum = torch.fft.rfft(frames * self.window.to(audio.dtype))
        used = spectrum[..., : len(self.filterbank)]
        levels = magnitude(used, max(self.spec.magnitude_eps, 1e-20))
        level = (levels @ self.filterbank.to(audio.dtype)).clamp_min(self.spec.floor)
        gain = (self.nats * mel[:, : self.bands].transpose(1, 2) - level.log()).clamp(-LARGEST, LARGEST)
        if inside is not None:
            gain = gain * inside[..., None]
        change = torch.expm1(gain @ self.to_bins.to(audio.dtype))
        added = torch.fft.irfft(spectrum * change, self.size)
        added = F.pad(added, (0, self.pieces * self.stride - self.size))
        added = (added * self.synthesis.to(audio.dtype)).unflatten(2, (self.pieces, self.stride))
        count = added.shape[1]
        total = added.new_zeros(len(added), count + self.pieces - 1, self.stride)
        for piece in range(self.pieces):
            total[:, piece : piece + count] += added[:, :, piece]
        return total.flatten(1)


class LowBand(nn.Module):
    """The lowest kilohertz at a lower rate, where passes of `MelMatch` take a tenth of the time.

    There mel bands are as narrow as harmonics, so the mel says most about the waveform and is worth many passes, each
    of which goes on from the last by `MOMENTUM` (the fast Griffin-Lim algorithm, Perraudin et al. 2013). What they
    changed is brought back to the full rate and added.

    Attributes:
        decimate: full samples a low one.
        reach: full samples on either side that a low one is made from.
    """

    down: Tensor
    up: Tensor

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.match = MelMatch(spec, low=True)
        self.decimate = self.match.decimate
        # Nothing may fold back onto the band: Kaiser's window for 60 dB from its edge to what would.
        transition = 2 * math.pi * (spec.sample_rate / self.decimate - 2 * LOW[1]) / spec.sample_rate
        wide = math.ceil((60.0 - 7.95) / (2.285 * transition) / 2 / self.decimate)
        self.reach = wide * self.decimate
        time = torch.arange(-self.reach, self.reach + 1, dtype=torch.float64)
        cutoff = 1.0 / (2 * self.decimate)
        kaiser = torch.kaiser_window(len(time), periodic=False, beta=5.65, dtype=torch.float64)
        kernel = 2 * cutoff * torch.sinc(2 * cutoff * time) * kaiser
        kernel = kernel / kernel.sum()
        # What a full sample is for each low one of a row, and the other way round.
        full = torch.arange((ROW - 1) * self.decimate + len(kernel))[:, None]
        down = _at(kernel, full - self.decimate * torch.arange(ROW))
        low = torch.arange(ROW + 2 * wide)[:, None] - wide
        up = self.decimate * _at(kernel, torch.arange(ROW * self.decimate) - self.decimate * low + self.reach)
        self.register_buffer("down", down.float(), persistent=False)
        self.register_buffer("up", up.float(), persistent=False)

    def lower(self, audio: Tensor) -> Tensor:
        """(B, reach + n * decimate + reach + 1 or more) -> (B, n + 1), of which the first is at sample `reach`."""
        count = (audio.shape[1] - 2 * self.reach - 1) // self.decimate + 1
        return _rows(audio, self.down, ROW * self.decimate, ceil_div(count, ROW))[:, :count]

    def raised(self, low: Tensor) -> Tensor:
        """(B, 2 * reach / decimate + n) -> (B, n * decimate), from that at `reach / decimate` on."""
        count = low.shape[1] - 2 * (self.reach // self.decimate)
        return _rows(low, self.up, ROW, ceil_div(count, ROW))[:, : count * self.decimate]


def _at(kernel: Tensor, index: Tensor) -> Tensor:
    """kernel[index], 0 outside it."""
    inside = (index >= 0) & (index < len(kernel))
    return torch.where(inside, kernel[index.clamp(0, len(kernel) - 1)], 0.0)


def _rows(x: Tensor, matrix: Tensor, step: int, rows: int) -> Tensor:
    """Stretches of (B, T), `step` apart and `rows` of them, each times the matrix, one after the other."""
    missing = (rows - 1) * step + len(matrix) - x.shape[1]
    stretches = F.pad(x, (0, max(0, missing))).unfold(1, len(matrix), step)[:, :rows]
    return (stretches @ matrix.to(x.dtype)).flatten(1)


def low_weight(spec: MelSpec) -> Tensor:
    """How much each mel band counts as low, (n_mels,): 1 and further up 0."""
    return ((LOW[1] - band_centres(spec)) / (LOW[1] - LOW[0])).clamp(0.0, 1.0)


def decimation(spec: MelSpec) -> int:
    """The lowest rate at which the low bands and whole frames can be had: so many full samples a low one."""
    offsets = (spec.hop_length, spec.n_fft, edge_padding(spec)[0], (spec.n_fft - spec.win_length) // 2)
    fits = [n for n in (2, 4, 8) if all(k % n == 0 for k in offsets) and spec.sample_rate / n > 2.4 * LOW[1]]
    return max(fits, default=1)
