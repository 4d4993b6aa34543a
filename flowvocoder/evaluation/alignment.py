"""How late a copy is.

A vocoder chooses its own phase, so the waveform's correlation peaks pitch periods beside the truth.
"""

import numpy as np

from flowvocoder.evaluation.signals import Values, common_part, level_gain, log_mel, magnitudes

FURTHEST = 2048  # samples searched either side, 93 ms
STEP = 8  # samples, of the envelopes
SAME_WAVE = 0.98  # correlation from which the phase was kept, so that the waveform gives the lag exactly
FLAT = 0.01  # the mel distance is flat near its minimum: a lag of 0 that is worse by no more than this share is kept
NEAR = 64  # samples; within these 0 is considered


def find_lag(reference: Values, generated: Values) -> int:
    """The lag at which generated[n + lag] lies on reference[n]; both (T,) at RATE, at least 0.2 s.

    Where the waveforms do not agree, it is the peak of the band envelopes' cross-correlation, refined to the least
    log-mel difference.
    """
    lag, correlation = _wave_lag(reference, generated)
    if correlation > SAME_WAVE:
        return lag
    costs: dict[int, float] = {}

    def cost(lag: int) -> float:
        if lag not in costs:
            a, b = common_part(reference, generated, lag)
            costs[lag] = float(np.abs(log_mel(a) - log_mel(b * level_gain(a, b))).mean())
        return costs[lag]

    best = _envelope_lag(reference, generated)
    for step in (32, 16, 8, 4):
        best = min((best - step, best, best + step), key=cost)
    return 0 if abs(best) < NEAR and cost(0) <= cost(best) * (1.0 + FLAT) else best


def _wave_lag(a: Values, b: Values) -> tuple[int, float]:
    """Peak of the cross-correlation, and its normalised height."""
    lags = np.arange(-FURTHEST, FURTHEST + 1)
    values = _cross_correlation(a[:, None], b[:, None])[lags]
    peak = int(np.argmax(values))
    return int(lags[peak]), float(values[peak] / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))


def _envelope_lag(a: Values, b: Values) -> int:
    lags = np.arange(-(FURTHEST // STEP), FURTHEST // STEP + 1)
    values = _cross_correlation(_envelopes(a), _envelopes(b))[lags]
    return int(lags[int(np.argmax(values))]) * STEP


def _envelopes(samples: Values) -> Values:
    """Log envelopes (frames, 23) of bands of 345 Hz, without their means."""
    magnitude = magnitudes(samples, 256, STEP, 256)
    bands = np.log(np.maximum(magnitude[:, 2:94].reshape(len(magnitude), 23, 4).sum(axis=2), 1e-4))
    return np.asarray(bands - bands.mean(axis=0))


def _cross_correlation(a: Values, b: Values) -> Values:
    """Sum over columns of the circular cross-correlation, long enough not to wrap; index is b's lag."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(len(a) + len(b), real=True)
    product = np.conj(rfft(a, size, axis=0)) * rfft(b, size, axis=0)
    return np.asarray(irfft(product.sum(axis=1), size))
