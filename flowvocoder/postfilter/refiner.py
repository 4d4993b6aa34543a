"""The refiner: a network that predicts time-frequency masks for what a mel leaves open above 1 kHz."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.stft import magnitude
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.frontend import MelFrontEnd, band_centres, interpolation
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic

MEL_AHEAD = 2
"""Mel frames after its own that a frame's masks are made from: they are there before their samples."""

KERNEL = 5
"""Frames that a layer convolves: its own and those before."""

SHORT_FRAMES = 16
"""Short frames in a hop. Their windows are four times as long as the way from one to the next."""

SHORT_OVERLAP = 4

LONG_EDGE, SHORT_EDGE = (900.0, 1100.0), (600.0, 1000.0)
"""Hz: the masks of long and short frames change nothing below the first, and all that they say above the second.
Low-band iterations know better there."""

MOST = 3.0
"""Largest change of a magnitude, in nats (26 dB)."""

FAINT = 1e-8, 4e-10
"""Powers in a bin of a long and a short frame that make no difference: the noise of 16 bits."""

LEAST, GREATEST = -6.0, 4.0
"""Nats, of a magnitude over the level that the mel states."""

LOWEST_LEVEL = -8.0
"""Nats, of what a mel states for a bin."""

SHORTER = math.log(4.0)
"""Nats by which a bin of a short frame is weaker than one of a long frame: noise, of windows a sixteenth as long."""

STATED = 4.0, 2.5
"""Stated levels enter the network plus the first, over the second."""

FAINT_PITCH = 1e-4
"""Added to the RMS that the waveform of the lowest harmonics is divided by."""


class RefinerLayer(nn.Module):
    """A ConvNeXt block over time that sees no later frame (Liu et al. 2022, arXiv:2201.03545)."""

    def __init__(self, channels: int):
        super().__init__()
        self.over_time = nn.Conv1d(channels, channels, KERNEL, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.inner = nn.Linear(channels, 2 * channels)
        self.outer = nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.3, dtype=torch.float32))

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, C) after its frames (B, KERNEL - 1, C) before -> (B, F, C) and the same frames for the next call."""
        seen = torch.cat([before.to(x.dtype), x], 1)
        # As an image one pixel high, which torch convolves with channels last in memory: no copies.
        kernel, image = self.over_time.weight[:, :, None], seen.transpose(1, 2)[:, :, None]
        h = F.conv2d(image, kernel, self.over_time.bias, groups=len(kernel))
        h = self.norm(h[:, :, 0].transpose(1, 2))
        return x + self.scale * self.outer(F.gelu(self.inner(h))), seen[:, -(KERNEL - 1) :]


class Masks(NamedTuple):
    """By how many nats magnitudes change: of long frames (B, F, bins), and of short (B, F * SHORT_FRAMES, bins)."""

    long: Tensor
    short: Tensor


class Refiner(nn.Module):
    """Predicts by how much each bin of a sample has to become stronger or weaker to be a recording's, above 1 kHz.

    A mel says how strong wide bands are in 46 ms. It leaves open how strong each harmonic is, and how the energy of a
    band follows the pulses of the voice. A sample of the flow draws both with too much chance. Here a network of
    time-frequency masks (Wang and Chen 2018, arXiv:1708.07524) sets both right: masks of frames as long as the
    mel's, then of frames that are short beside a pitch period. Phases stay the sample's, and so does its randomness.

    Each mel frame has one step of the network. It sees the mel, the sample's magnitudes in both kinds of frames over
    the level that the mel states, and the waveform of the lowest harmonics. It sees earlier frames and no later one,
    but for `MEL_AHEAD` frames of the mel.

    Args:
        spec: of the mel, whose hop_length divides n_fft, and SHORT_FRAMES divides hop_length.
        channels, layers: of the network.

    Attributes:
        hop, size, left: samples between long frames, in their window, and of it before the frame's own first sample.
        short_hop, short_size: the same of short frames.
    """

    window: Tensor
    short_window: Tensor
    to_bins: Tensor
    to_short_bins: Tensor
    share: Tensor
    short_share: Tensor
    unit: Tensor
    filterbank: Tensor

    @plain_defaults()
    def __init__(self, spec: MelSpec, channels: int, layers: int):
        super().__init__()
        self.spec = spec
        self.hop, self.size = spec.hop_length, spec.n_fft
        self.left = edge_padding(spec)[0]
        self.short_hop = spec.hop_length // SHORT_FRAMES
        self.short_size = SHORT_OVERLAP * self.short_hop
        # The short frames of a hop lie around the middle of the long one.
        self.short_left = self.left - (self.size - self.hop + self.short_hop - self.short_size) // 2
        self.pitch_values = self.size // self.short_hop  # the waveform below half of its rate, 689 Hz at 22 050
        self.nats = math.log(10.0) if spec.log == "log10" else 1.0  # a unit of the mel
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("short_window", torch.hann_window(self.short_size).sqrt(), persistent=False)
        filterbank = MelFrontEnd(spec).filterbank
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.register_buffer("unit", filterbank.sum(1).clamp_min(1e-12).log(), persistent=False)
        for name, size, edge in (("", self.size, LONG_EDGE), ("short_", self.short_size, SHORT_EDGE)):
            hz = torch.arange(size // 2 + 1, dtype=torch.float32) * spec.sample_rate / size
            self.register_buffer(f"to_{name}bins", interpolation(band_centres(spec), hz), persistent=False)
            share = ((hz - edge[0]) / (edge[1] - edge[0])).clamp(0.0, 1.0)
            self.register_buffer(f"{name}share", share, persistent=False)
        bins, short_bins = self.size // 2 + 1, self.short_size // 2 + 1
        seen = (2 + MEL_AHEAD) * spec.n_mels + bins + SHORT_FRAMES * short_bins + self.pitch_values
        self.start = nn.Linear(seen, channels)
        self.layers = nn.ModuleList(RefinerLayer(channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.last = nn.Linear(channels, bins + SHORT_FRAMES * short_bins)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        spectrum: Tensor,
        short: Tensor,
        mel: Tensor,
        states: list[Tensor],
        precision: torch.dtype | None = None,
        arithmetic: Arithmetic = PYTORCH,
    ) -> tuple[Masks, list[Tensor]]:
        """The masks of some frames, and the states after them.

        Args:
            states: of each layer, as `fresh` or the last call gave them.
            precision: of the network; None: that of its input.
            arithmetic: what computes for every bin.

        Shape:
            spectrum: of long frames, complex (B, F, bins), short: complex (B, F * SHORT_FRAMES, bins),
            mel: in its own unit, (B, n_mels, F + MEL_AHEAD)
        """
        seen, after = self._seen(spectrum, short, mel, arithmetic), []
        with torch.autocast(mel.device.type, precision or torch.bfloat16, enabled=precision is not None):
            h = self.start(seen)
            for layer, before in zip(self.layers, states, strict=True):
                h, state = layer(h, before)
                after.append(state)
            said = self.last(self.norm(h)).to(mel.dtype)
        said = arithmetic.bounded(said, MOST)  # a tanh takes ten times as long
        long, short_said = said.split([len(self.share), said.shape[2] - len(self.share)], 2)
        in_short = short_said.unflatten(2, (SHORT_FRAMES, -1)).flatten(1, 2)
        return Masks(long * self.share.to(mel.dtype), in_short * self.short_share.to(mel.dtype)), after

    @property
    def synthesis(self) -> Tensor:
        """What long frames are multiplied with before overlap-add: n overlapping squared Hann windows sum to 3/8 n."""
        return self.window / (0.375 * self.size / self.hop)

    @property
    def short_synthesis(self) -> Tensor:
        """The same of short frames: n overlapping Hann windows sum to n / 2."""
        return self.short_window * (2 * self.short_hop / self.short_size)

    def fresh(self, like: Tensor) -> list[Tensor]:
        """The layers' states before the first frame, for as many items."""
        return [like.new_zeros(len(like), KERNEL - 1, len(self.norm.weight)) for _ in self.layers]

    def _seen(self, spectrum: Tensor, short: Tensor, mel: Tensor, arithmetic: Arithmetic) -> Tensor:
        """The network's input, (B, F, values)."""
        count = spectrum.shape[1]
        stated = self.nats * mel.transpose(1, 2)
        level = stated[:, :count] - self.unit.to(mel.dtype)
        bands = magnitude(spectrum, FAINT[0]) @ self.filterbank.to(mel.dtype).T
        own = bands.clamp_min(self.spec.floor).log()
        missing = 4.0 * (stated[:, :count] - own).clamp(-1.0, 1.0)
        long = arithmetic.over_level(
            spectrum, level @ self.to_bins.to(mel.dtype), FAINT[0], LOWEST_LEVEL, (LEAST, GREATEST)
        )
        # As strong as if their windows were as long.
        stated_short = level @ self.to_short_bins.to(mel.dtype) - SHORTER
        in_short = arithmetic.over_level(short, stated_short, FAINT[1], LOWEST_LEVEL - 2 * SHORTER, (LEAST, GREATEST))
        pitch = torch.fft.irfft(spectrum[..., : self.pitch_values // 2 + 1], self.pitch_values)
        # The square root of 0, which digital silence has, has no gradient.
        pitch = pitch / (pitch.square().mean(2, keepdim=True).clamp_min(1e-30).sqrt() + FAINT_PITCH)
        ahead = [(stated[:, later : later + count] + STATED[0]) / STATED[1] for later in range(MEL_AHEAD + 1)]
        return torch.cat([*ahead, missing, long, in_short.unflatten(1, (count, SHORT_FRAMES)).flatten(2), pitch], 2)
