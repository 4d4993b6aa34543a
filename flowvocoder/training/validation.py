"""Held-out likelihood during training, and one utterance to listen to."""

import contextlib
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from flowvocoder.data.corpus import Utterance
from flowvocoder.errors import AudioError, FlowVocoderError, MelError, together
from flowvocoder.flows.density import FlowVocoder, dequantise
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.units import PCM16_STEP, bits_per_sample
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

LIMIT = 12
"""Utterances of each corpus."""


Item: TypeAlias = tuple[str, Tensor, Tensor]
"""Corpus, audio (T,) and mel (n_mels, F) of a held-out utterance."""


def read_held_out(utterances: Sequence[Utterance], spec: MelSpec) -> list[Item]:
    """At most LIMIT of each corpus, whole frames of them.

    Raises:
        AudioError, MelError: unreadable files, all of them.
    """
    front_end = MelFrontEnd(spec)
    taken: dict[str, int] = {}
    items: list[Item] = []
    errors: list[FlowVocoderError] = []
    for utterance in utterances:
        corpus = utterance.id.split("/")[0]
        if taken.get(corpus, 0) >= LIMIT:
            continue
        try:
            audio = torch.from_numpy(utterance.read(spec.sample_rate))
            given = utterance.read_mel(spec, len(audio))
        except (AudioError, MelError) as error:
            errors.append(error)
            continue
        if len(audio) < spec.n_fft:
            continue
        taken[corpus] = taken.get(corpus, 0) + 1
        mel = front_end(audio) if given is None else torch.from_numpy(given)
        frames = min(len(audio) // spec.hop_length, mel.shape[1])
        items.append((corpus, audio[: frames * spec.hop_length], mel[:, :frames]))
    if errors:
        raise together(errors, f"of {len(utterances)} held-out recordings cannot be used")
    return items


class Validation:
    """Whole held-out utterances; always the same ones with the same dequantisation.

    Args:
        items: of `read_held_out`.
        card: temperature and post-filter iterations, as a checkpoint states them.
    """

    def __init__(self, items: list[Item], card: VoiceCard):
        self.items, self.card = items, card

    @torch.no_grad()
    def measure(self, model: FlowVocoder, device: torch.device) -> dict[str, float]:
        """`nats` and `bits` per sample over all, `nats.CORPUS` for each corpus; empty without data."""
        generator = torch.Generator().manual_seed(0)
        totals: dict[str, list[float]] = {}
        for corpus, audio, mel in self.items:
            noisy = dequantise(audio, PCM16_STEP, generator)
            nats = float(model.log_prob(noisy[None].to(device), mel[None].to(device)))
            totals.setdefault(corpus, []).append(nats / len(audio))
        if not totals:
            return {}
        everything = [v for values in totals.values() for v in values]
        mean = sum(everything) / len(everything)
        by_corpus = {f"nats.{corpus}": sum(v) / len(v) for corpus, v in totals.items()}
        return {"nats": mean, "bits": bits_per_sample(mean), **by_corpus}

    def examples(self, model: FlowVocoder, postfilter: PostFilter | None) -> list[tuple[str, Tensor, Tensor]]:
        """(corpus, recording (T,), the same as the voice speaks it (T,)) for the first utterance of each corpus."""
        vocoder = Vocoder(model, self.card, postfilter)
        firsts = {corpus: (audio, mel) for corpus, audio, mel in reversed(self.items)}
        result = []
        for corpus, (audio, mel) in sorted(firsts.items()):
            with contextlib.suppress(FlowVocoderError):  # at first a sample may be beyond all bounds
                result.append((corpus, audio, vocoder.synthesize(mel, seed=0, trust_mel=True)[0].cpu()))
        return result
