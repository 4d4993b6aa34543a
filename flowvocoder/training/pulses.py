"""How samples repeat themselves from one pitch period to the next, against recordings, for the hybrid objective."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.periodicity import correlation_near, lag_range, pitch_periods

BANDS = ((1000.0, 2000.0), (2000.0, 4000.0), (4000.0, 8000.0))
"""Octaves in Hz whose envelopes are compared: below them harmonics are resolved, above them a mel is silent."""

VOICE = (50.0, 900.0)
"""Band in Hz whose waveform is compared: the lower harmonics, which carry the pitch."""


class PeriodicityDistance(nn.Module):
    """How differently two signals correlate with themselves one pitch period later, in windows of some periods.

    Where in time the pulses of a voice are the mel does not say, so a distance between waveforms cannot ask for them;
    and short-time magnitudes hardly see whether they are there. The correlation with itself depends on neither.

    Args:
        sample_rate: in Hz.
        decimate: samples a value of what is compared.
        window: seconds.

    Shape:
        samples, recorded: (B, T) -> scalar, mean absolute difference of correlations in -1..1, over voiced frames
    """

    def __init__(self, sample_rate: int, decimate: int = 4, window: float = 0.03):
        super().__init__()
        self.sample_rate = sample_rate
        self.min_lag, self.max_lag = lag_range(sample_rate)
        self.decimate = decimate
        self.window = round(window * sample_rate / decimate)

    def forward(self, samples: Tensor, recorded: Tensor) -> Tensor:
        length = recorded.shape[1] // self.hop * self.hop
        samples, recorded = samples[:, :length], recorded[:, :length]
        with torch.no_grad():
            similarity, voiced = pitch_periods(recorded, self.min_lag, self.max_lag, length // self.hop)
            lag = similarity.argmax(1) + self.min_lag
            target = self._correlations(recorded, lag)
        difference = (self._correlations(samples, lag) - target).abs().mean(1)
        # An item at a time, so that a batch in parts has the same loss as a whole one.
        return ((difference * voiced).sum(1) / (voiced.sum(1) + 1.0)).mean()

    @property
    def hop(self) -> int:
        """Samples between windows, half a window."""
        return self.window // 2 * self.decimate

    def _correlations(self, x: Tensor, lag: Tensor) -> Tensor:
        """What is compared, of (B, T) with the lags (B, F) of the recording: (B, correlations, F)."""
        raise NotImplementedError

    def _correlation(self, x: Tensor, lag: Tensor) -> Tensor:
        """Of (B, C, T / decimate) with itself `lag` samples later, the best of three next to it: (B, C, F)."""
        lag = (lag / self.decimate).round().long()
        reach = self.max_lag // self.decimate + 2
        x = F.pad(x, (self.window // 2, self.window + reach))
        frames = x.unfold(-1, self.window + reach, self.window // 2)[:, :, : lag.shape[1]]
        return correlation_near(frames, lag, self.window)


class PulseDistance(PeriodicityDistance):
    """Pitch pulses: the correlation of the envelopes of `BANDS`.

    Voiced speech excites every band above the first formant once a glottal pulse. A vocoder that drowns the pulses in
    noise keeps the short-time magnitudes and sounds breathy, so a spectral distance hardly sees it.
    """

    def __init__(self, sample_rate: int):
        super().__init__(sample_rate)
        self.bands = [(low / sample_rate, high / sample_rate) for low, high in BANDS if high < 0.5 * sample_rate]

    def _correlations(self, x: Tensor, lag: Tensor) -> Tensor:
        return self._correlation(self._envelopes(x), lag)

    def _envelopes(self, x: Tensor) -> Tensor:
        """Magnitude of each band's analytic signal, without what is faster than a pulse: (B, bands, T / decimate)."""
        spectrum = torch.fft.fft(x)
        frequency = torch.fft.fftfreq(x.shape[1], device=x.device)
        inside = torch.stack([(frequency >= low) & (frequency < high) for low, high in self.bands])
        envelope = torch.fft.ifft(spectrum[:, None] * inside).abs()
        slow = torch.fft.rfft(envelope)[..., : x.shape[1] // (2 * self.decimate) + 1]
        smooth = torch.exp(-0.5 * (torch.arange(slow.shape[-1], device=x.device) / (0.04 * x.shape[1])).square())
        return torch.fft.irfft(slow * smooth, x.shape[1] // self.decimate)


class PeriodDistance(PeriodicityDistance):
    """Pitch: the correlation of the waveform in `VOICE`, one and half a period later.

    Half a period too, since a creaky voice differs from one an octave higher in how it correlates there.
    """

    def __init__(self, sample_rate: int):
        # Lags to two samples, 30 degrees of the highest frequency.
        super().__init__(sample_rate, decimate=2, window=0.035)

    def _correlations(self, x: Tensor, lag: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        frequency = torch.fft.rfftfreq(x.shape[1], 1.0 / self.sample_rate, device=x.device)
        voice = torch.where((frequency >= VOICE[0]) & (frequency < VOICE[1]), spectrum, 0.0)
        x = torch.fft.irfft(voice[..., : x.shape[1] // (2 * self.decimate) + 1], x.shape[1] // self.decimate)[:, None]
        return torch.cat([self._correlation(x, lag), self._correlation(x, lag / 2)], 1)
