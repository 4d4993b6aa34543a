"""Frame-by-frame iterations by what is quickest: NumPy for one item on the CPU, PyTorch for all else."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowvocoder.postfilter.consistency import MAX_GAIN, MelConsistency
from flowvocoder.postfilter.low_band import LowBand
from flowvocoder.postfilter.real_time import RealTimeIterations
from flowvocoder.postfilter.rounds import Rounds
from flowvocoder.postfilter.rounds_compiled import CompiledRounds, supported
from flowvocoder.postfilter.settings import PostfilterSettings


class FrameByFrame:
    """`RealTimeIterations` as a `Stage`, by `Rounds` where the audio is one float32 signal on the CPU.

    Takes what `RealTimeIterations` takes, and one more.

    Args:
        compiled: by numba where that is quicker.
    """

    def __init__(
        self,
        consistency: MelConsistency,
        band: LowBand,
        settings: PostfilterSettings,
        lengths: Tensor | None = None,
        compiled: bool = False,
    ):
        self._general = RealTimeIterations(consistency, band, settings, lengths)
        self._made = consistency, band, settings, compiled
        self._rounds: Rounds | RealTimeIterations | None = None  # chosen by the first audio, since it keeps the last
        self._one = lengths is None
        self.behind = self._general.behind

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        self._rounds = self._rounds or self._chosen(audio)
        if isinstance(self._rounds, RealTimeIterations):
            return self._rounds.push(mel, audio, ends)
        return torch.from_numpy(self._rounds.push(mel[0].numpy(), audio[0].numpy(), ends))[None]

    def _chosen(self, audio: Tensor) -> Rounds | RealTimeIterations:
        plain = self._one and len(audio) == 1 and audio.dtype == torch.float32 and audio.device.type == "cpu"
        if not plain or (torch.is_grad_enabled() and audio.requires_grad):
            return self._general
        consistency, band, settings, compiled = self._made
        values = constants(consistency, band)
        kind = CompiledRounds if compiled and supported(values) else Rounds
        return kind(consistency.spec, values, settings)


def constants(consistency: MelConsistency, band: LowBand) -> dict[str, Any]:
    """What `Rounds` computes with, over all bands and, named `low_...`, over the low one."""
    filters = {"down": band.down.numpy(), "up": band.up.numpy(), "reach": np.array(band.reach)}
    return {**_of_frames(consistency, ""), **_of_frames(band.consistency, "low_"), **filters}


def _of_frames(step: MelConsistency, prefix: str) -> dict[str, Any]:
    buffers = {name: value.numpy() for name, value in step.named_buffers()}
    numbers = {name: getattr(step, name) for name in ("hop", "size", "left", "decimate", "bands", "nats")}
    values = {**buffers, **numbers, "max_gain": MAX_GAIN}
    return {prefix + name: np.asarray(value) for name, value in values.items()}
