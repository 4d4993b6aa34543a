"""The mel spectrogram of audio that is still coming in."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.audio.arrays import Numbers, as_audio
from flowvocoder.errors import AudioError
from flowvocoder.inference import without_gradients
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import edge_padding
from flowvocoder.units import ceil_div


class MelStream:
    """Frames as soon as their window is full; together they are the mel of the whole, `ceil(T / hop_length)` frames.

    Args:
        front_end: computes the frames.

    Attributes:
        device: where it computes.
    """

    def __init__(self, front_end: MelFrontEnd):
        self._front_end = front_end
        self.device = front_end.window.device
        self._left, self._right = edge_padding(front_end.spec)
        # From the window of the next frame on, the reflection at the start included.
        self._buffer = front_end.window.new_zeros(0)
        self._tail = front_end.window.new_zeros(0)  # the last samples, for the reflection at the end
        self._samples = self._frames = 0

    @without_gradients
    def push(self, samples: Numbers) -> Tensor:
        """The next samples (T,) -> the frames (n_mels, F) that they complete.

        Raises:
            AudioError: what is no audio, or several items.
        """
        batch = as_audio(samples, self._front_end.window)
        if len(batch) != 1:
            raise AudioError(f"a stream is one recording, not {len(batch)}")
        audio = batch[0]
        started = self._samples > self._left
        self._samples += len(audio)
        self._buffer = torch.cat([self._buffer, audio])
        self._tail = torch.cat([self._tail, audio])[-self._right - 1 :]
        if not started:
            if self._samples <= self._left:
                return self._ready()
            self._buffer = F.pad(self._buffer[None], (self._left, 0), mode="reflect")[0]
        return self._ready()

    @without_gradients
    def flush(self) -> Tensor:
        """The frames (n_mels, F) that reach over the end of the audio.

        Raises:
            AudioError: it was too short for the reflection at its ends.
        """
        hop, total = self._front_end.spec.hop_length, self._samples
        frames = ceil_div(total, hop)
        least = max(self._left, self._right) + 1
        if frames * hop < least:
            raise AudioError(f"{total} samples are too few for a mel: at least {least} are needed")
        missing = frames - self._frames
        early = self.push(self._tail.new_zeros(frames * hop - total))
        reflected = F.pad(self._tail[None], (0, self._right), mode="reflect")[0]
        self._buffer = torch.cat([self._buffer, reflected[len(self._tail) :]])
        return torch.cat([early, self._ready()], 1)[:, :missing]

    def _ready(self) -> Tensor:
        spec = self._front_end.spec
        count = max(0, (len(self._buffer) - spec.n_fft) // spec.hop_length + 1)
        if self._samples <= self._left or count == 0:
            return self._buffer.new_zeros(spec.n_mels, 0)
        mel: Tensor = self._front_end.frames(self._buffer[None, : spec.n_fft + (count - 1) * spec.hop_length])[0]
        self._buffer = self._buffer[count * spec.hop_length :]
        self._frames += count
        return mel
