"""The likelihood of the recording itself, which only a flow knows."""

from torch import Tensor

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.units import bits_per_sample
from flowvocoder.vocoder import Vocoder


@measure("nats", "likelihood, nats/sample", 3, "higher", of="model", charted=True, per_sample=True)
@measure("bits", "cost, bits/sample", 3, "lower", of="model", per_sample=True)
def likelihood(vocoder: Vocoder, audio: Tensor, mel: Tensor | None, seed: int) -> dict[str, float]:
    """`nats`, the log-density a sample of audio (T,), and `bits`, the cost of coding it; both as `Vocoder.score`."""
    nats = float(vocoder.score(audio, mel, seed))
    return {"nats": nats, "bits": bits_per_sample(nats)}
