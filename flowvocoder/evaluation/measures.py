"""The measures, in the order they are shown: their labels, how many digits mean something, which way is good."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Measure:
    """How one measure is shown. `better` says where good values lie ("zero": near 0; None: it is not judged)."""

    name: str
    label: str
    decimals: int
    better: Literal["higher", "lower", "zero"] | None
    charted: bool = False

    @property
    def heading(self) -> str:
        """Label with an arrow."""
        arrow = {"higher": " ↑", "lower": " ↓", "zero": " → 0"}.get(self.better or "", "")
        return self.label + arrow


MEASURES = (
    Measure("nats", "likelihood, nats/sample", 3, "higher", True),
    Measure("bits", "cost, bits/sample", 3, "lower"),
    Measure("score", "score", 3, "higher", True),
    Measure("pesq", "PESQ-WB", 2, "higher", True),
    Measure("stoi", "STOI", 3, "higher"),
    Measure("estoi", "ESTOI", 3, "higher", True),
    Measure("mrstft", "multi-resolution STFT distance", 3, "lower", True),
    Measure("sc", "spectral convergence", 3, "lower"),
    Measure("logmag", "log-magnitude distance", 3, "lower", True),
    Measure("mel_l1", "mel distance", 3, "lower", True),
    Measure("lsd", "LSD, dB", 2, "lower"),
    Measure("lsd_a", "LSD of speech, dB", 2, "lower", True),
    Measure("hf_lsd", "LSD of speech above 8 kHz, dB", 2, "lower"),
    Measure("mcd", "MCD, dB", 2, "lower", True),
    Measure("mcd_fb", "MCD of mel bands, dB", 2, "lower"),
    Measure("band_db", "band level error, dB", 2, "lower", True),
    Measure("hf_db", "level above 8 kHz, dB", 1, "zero"),
    Measure("pause_db", "level in pauses, dB", 1, "zero"),
    Measure("level_db", "level, dB", 2, "zero"),
    Measure("pulse", "pulse error", 3, "lower", True),
    Measure("pulse_bias", "pulse bias", 3, "zero"),
    Measure("f0_cents", "F0 RMSE, cents", 1, "lower", True),
    Measure("f0_fine", "F0 RMSE without gross errors, cents", 1, "lower"),
    Measure("f0_gross", "gross F0 errors, %", 2, "lower"),
    Measure("vuv", "V/UV error, %", 2, "lower", True),
    Measure("per_rmse", "periodicity error", 3, "lower", True),
    Measure("hum_db", "hum, dB", 1, "lower", True),
    Measure("hum_peak_db", "strongest hum tone, dB", 1, "lower"),
    Measure("voiced_ref", "voiced frames of the recording, %", 1, None),
    Measure("hum_recording_db", "hum of the recording itself, dB", 1, None),
    Measure("x_realtime", "x real time, one core", 1, "higher", True),
)

PER_SAMPLE = ("nats", "bits")
"""What is counted by the sample, and so means another thing at another sample rate."""
