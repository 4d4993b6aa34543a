"""The mel spectrogram, of whole audio and of audio that is still coming in."""

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import AudioError
from flowvocoder.mel.filterbank import filterbank
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.units import ceil_div

Floats = npt.NDArray[np.float32]


class MelFrontEnd:
    """What `flowvocoder.mel.frontend.MelFrontEnd` gives.

    Shape:
        audio: (..., T) in [-1, 1) -> (..., n_mels, F)

    Raises:
        AudioError: audio too short for the reflection at its ends.
    """

    def __init__(self, spec: MelSpec):
        self.spec = spec
        before = (spec.n_fft - spec.win_length) // 2
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.win_length) / spec.win_length)
        self._window = np.pad(hann, (before, spec.n_fft - spec.win_length - before)).astype(np.float32)
        self._filters = np.ascontiguousarray(filterbank(spec).T.astype(np.float32))

    def __call__(self, audio: Floats) -> Floats:
        left, right = edge_padding(self.spec)
        if audio.shape[-1] <= max(left, right):
            raise AudioError(
                f"{audio.shape[-1]} samples are too few for a mel with n_fft {self.spec.n_fft}:"
                f" at least {max(left, right) + 1} are needed"
            )
        edges = [(0, 0)] * (audio.ndim - 1) + [(left, right)]
        return self.frames(np.pad(audio, edges, mode="reflect"))

    def frames(self, padded: Floats) -> Floats:
        """Mel of audio that already has its context: (..., n_fft + (F - 1) * hop_length) -> (..., n_mels, F)."""
        spec = self.spec
        windows = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft, -1)[..., :: spec.hop_length, :]
        parts = [self._of_windows(windows[..., at : at + 4096, :]) for at in range(0, windows.shape[-2], 4096)]
        return np.concatenate(parts, -2).swapaxes(-1, -2)

    def _of_windows(self, windows: Floats) -> Floats:
        spec = self.spec
        magnitude = np.abs(np.fft.rfft(windows * self._window)).astype(np.float32)
        if spec.magnitude_eps:
            magnitude = np.sqrt(np.square(magnitude) + np.float32(spec.magnitude_eps))
        mel = np.maximum(magnitude @ self._filters, np.float32(spec.floor))
        return np.log10(mel) if spec.log == "log10" else np.log(mel)


class MelStream:
    """Frames as soon as their window is full; together they are the mel of the whole, `ceil(T / hop_length)` frames."""

    def __init__(self, front_end: MelFrontEnd):
        self._front_end = front_end
        self._left, self._right = edge_padding(front_end.spec)
        self._buffer = np.zeros(0, np.float32)  # from the window of the next frame on
        self._tail = np.zeros(0, np.float32)  # the last samples, for the reflection at the end
        self._samples = self._frames = 0

    def push(self, audio: npt.ArrayLike) -> Floats:
        """The next samples (T,) -> the frames (n_mels, F) that they complete."""
        samples = np.asarray(audio, np.float32)
        started = self._samples > self._left
        self._samples += len(samples)
        self._buffer = np.concatenate([self._buffer, samples])
        self._tail = np.concatenate([self._tail, samples])[-self._right - 1 :]
        if not started and self._samples > self._left:
            self._buffer = np.pad(self._buffer, (self._left, 0), mode="reflect")
        return self._ready()

    def flush(self) -> Floats:
        """The frames (n_mels, F) that reach over the end of the audio.

        Raises:
            AudioError: it was too short for the reflection at its ends.
        """
        hop, total = self._front_end.spec.hop_length, self._samples
        frames, least = ceil_div(total, hop), max(self._left, self._right) + 1
        if frames * hop < least:
            raise AudioError(f"{total} samples are too few for a mel: at least {least} are needed")
        missing = frames - self._frames
        early = self.push(np.zeros(frames * hop - total, np.float32))
        reflected = np.pad(self._tail, (0, self._right), mode="reflect")
        self._buffer = np.concatenate([self._buffer, reflected[len(self._tail) :]])
        return np.concatenate([early, self._ready()], 1)[:, :missing]

    def _ready(self) -> Floats:
        spec = self._front_end.spec
        count = max(0, (len(self._buffer) - spec.n_fft) // spec.hop_length + 1)
        if self._samples <= self._left or count == 0:
            return np.zeros((spec.n_mels, 0), np.float32)
        mel = self._front_end.frames(self._buffer[: spec.n_fft + (count - 1) * spec.hop_length])
        self._buffer = self._buffer[count * spec.hop_length :]
        self._frames += count
        return mel
