"""How fast speech is made."""

from flowvocoder.evaluation.measures.registry import measure


@measure("x_realtime", "x real time, one core", 1, "higher", of="run", charted=True)
def real_time_factor(audio_seconds: float, taken: float) -> dict[str, float]:
    """`x_realtime`: seconds of audio for each second taken."""
    return {"x_realtime": audio_seconds / taken}
