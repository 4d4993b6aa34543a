"""Griffin-Lim, the classic way from a mel to audio, to compare with."""

import torch
from torch import Tensor

from flowvocoder.mel.spec import MelSpec


def griffin_lim(mel: Tensor, spec: MelSpec, iterations: int = 32) -> Tensor:
    """Audio (F * hop_length,) for a log-mel (n_mels, F): least-squares magnitudes, then phases found by iteration.

    Deterministic. Griffin and Lim 1984; the faster iteration of Perraudin et al. 2013.
    """
    import torchaudio  # slow to import, needed only here

    magnitudes = mel.float().exp() if spec.log == "ln" else 10.0 ** mel.float()
    linear = torchaudio.transforms.InverseMelScale(
        spec.n_fft // 2 + 1,
        spec.n_mels,
        spec.sample_rate,
        spec.fmin,
        spec.fmax,
        norm="slaney" if spec.norm == "slaney" else None,
        mel_scale=spec.mel_scale,
        driver="gelsd",  # bands narrower than a bin make the filters rank-deficient
    )(magnitudes)
    audio: Tensor = torchaudio.functional.griffinlim(
        linear,
        torch.hann_window(spec.win_length),
        spec.n_fft,
        spec.hop_length,
        spec.win_length,
        power=1.0,
        n_iter=iterations,
        momentum=0.99,
        length=None,
        rand_init=False,
    )
    lead = spec.hop_length // 2 if spec.padding == "same" else 0  # where the convention puts frame 0
    samples = mel.shape[-1] * spec.hop_length
    return torch.nn.functional.pad(audio, (lead, samples))[:samples]
