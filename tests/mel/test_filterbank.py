"""The mel filterbank where torchaudio cannot be imported, as beside a CPU-only torch."""

import sys
from pathlib import Path

import pytest
import soundfile as sf
import torch

from flowvocoder.errors import ConfigError
from flowvocoder.evaluation.griffin_lim import griffin_lim
from flowvocoder.mel.frontend import _filterbank_of_librosa, mel_filterbank
from flowvocoder.mel.spec import CONVENTIONS, MelSpec
from flowvocoder.vocoder import Vocoder


@pytest.mark.slow
@pytest.mark.parametrize("spec", CONVENTIONS.values(), ids=CONVENTIONS)
def test_librosa_has_the_same_filters(spec: MelSpec) -> None:
    ours, theirs = mel_filterbank(spec), _filterbank_of_librosa(spec, None if spec.norm == "none" else spec.norm)
    assert ours.shape == theirs.shape == (spec.n_mels, spec.n_fft // 2 + 1)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(ours.max()))


@pytest.mark.slow
def test_everything_but_griffin_lim_works_without_torchaudio(
    wav: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mels, scores = [], []
    vocoder = Vocoder.from_pretrained(checkpoint)
    audio = torch.from_numpy(sf.read(wav, dtype="float32")[0])
    griffin_lim(vocoder.mel(audio)[0], vocoder.spec, iterations=1)
    for _ in range(2):
        vocoder = Vocoder.from_pretrained(checkpoint)
        mels.append(vocoder.mel(audio))
        scores.append(float(vocoder.score(audio)))
        monkeypatch.setitem(sys.modules, "torchaudio", None)
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert torch.allclose(*mels, atol=1e-4)
    with pytest.raises(ConfigError, match="this needs torchaudio, built for the torch that is installed"):
        griffin_lim(mels[0][0], vocoder.spec, iterations=1)
