"""Held-out likelihood during training, and one utterance to listen to."""

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from flowvocoder.data.corpus import Corpus
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


@dataclasses.dataclass(frozen=True)
class Item:
    """A held-out utterance: audio (T,) and mel (n_mels, F), and whether training hears nothing of its speaker."""

    corpus: str
    is_unseen: bool
    audio: Tensor
    mel: Tensor


def read_held_out(corpora: Sequence[Corpus], spec: MelSpec) -> list[Item]:
    """At most LIMIT of each corpus, and LIMIT of its unseen speakers; whole frames of them.

    Raises:
        AudioError, MelError: unreadable files, all of them.
    """
    front_end = MelFrontEnd(spec)
    items: list[Item] = []
    errors: list[FlowVocoderError] = []
    for corpus, is_unseen in itertools.product(corpora, (False, True)):
        taken = 0
        for utterance in corpus.unseen if is_unseen else corpus.held_out:
            if taken == LIMIT:
                break
            try:
                audio = torch.from_numpy(utterance.read(spec.sample_rate))
                given = utterance.read_mel(spec, len(audio))
            except (AudioError, MelError) as error:
                errors.append(error)
                continue
            if len(audio) < spec.n_fft:
                continue
            taken += 1
            mel = front_end(audio) if given is None else torch.from_numpy(given)
            frames = min(len(audio) // spec.hop_length, mel.shape[1])
            items.append(Item(corpus.name, is_unseen, audio[: frames * spec.hop_length], mel[:, :frames]))
    if errors:
        raise together(
            errors, f"of {sum(len(c.held_out) + len(c.unseen) for c in corpora)} held-out recordings cannot be used"
        )
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
        """`nats` and `bits` per sample over all, `nats.CORPUS` for each corpus; empty without data.

        The same of unseen speakers is `unseen` and `unseen.CORPUS`. `nats` is of the others, where there are any.
        """
        generator = torch.Generator().manual_seed(0)
        nats: dict[str, list[float]] = {}
        for item in self.items:
            noisy = dequantise(item.audio, PCM16_STEP, generator)
            value = float(model.log_prob(noisy[None].to(device), item.mel[None].to(device))) / len(noisy)
            kind = "unseen" if item.is_unseen else "nats"
            for name in (kind, f"{kind}.{item.corpus}"):
                nats.setdefault(name, []).append(value)
        mean = {name: sum(values) / len(values) for name, values in nats.items()}
        if not mean:
            return {}
        mean.setdefault("nats", mean.get("unseen", 0.0))
        return {"nats": mean["nats"], "bits": bits_per_sample(mean["nats"]), **mean}

    def examples(self, model: FlowVocoder, postfilter: PostFilter | None) -> list[tuple[str, Tensor, Tensor]]:
        """(corpus, recording (T,), the same as the voice speaks it (T,)) for the first utterance of each corpus."""
        vocoder = Vocoder(model, self.card, postfilter)
        firsts = {f"{item.corpus}, unseen" if item.is_unseen else item.corpus: item for item in reversed(self.items)}
        result = []
        for name, item in sorted(firsts.items()):
            with contextlib.suppress(FlowVocoderError):  # at first a sample may be beyond all bounds
                result.append((name, item.audio, vocoder.synthesize(item.mel, seed=0, trust_mel=True)[0].cpu()))
        return result
