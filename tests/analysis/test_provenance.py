"""What a voice made is proven to be its own, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from scipy import stats

import flowvocoder
from flowvocoder import Vocoder
from flowvocoder.analysis.provenance import Proof, _compared, _latent, _noise, prove
from flowvocoder.cli.main import main
from flowvocoder.errors import AudioError

EXAMPLE = Path(flowvocoder.__file__).parent / "examples" / "kerstin.flac"


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    return Vocoder.from_pretrained()


@pytest.fixture(scope="module")
def recording() -> torch.Tensor:
    return torch.from_numpy(sf.read(EXAMPLE, dtype="float32")[0][:16384])


@pytest.mark.slow
def test_its_own_synthesis_is_proven_and_nothing_else(vocoder: Vocoder, recording: torch.Tensor) -> None:
    made = vocoder.resynthesize(recording, seed=5)[0]
    stored = (made * 0.4 * 32768).round() / 32768
    assert prove(vocoder, stored, 5, cut=False).log10_p < -100
    for audio, seed in ((stored, 6), (recording, 5)):
        proof = prove(vocoder, audio, seed, cut=False)
        assert proof.offset is None and proof.log10_p > -4


def test_the_statistic_is_normal_for_noise_that_had_no_part(vocoder: Vocoder, recording: torch.Tensor) -> None:
    z = _latent(vocoder, recording[None, :2560], None)[0]
    found = [_compared(z, _noise(vocoder, seed, z.shape[1]))[0] for seed in range(300)]
    assert stats.kstest(found, "norm").pvalue > 1e-3


def test_a_far_tail_is_no_zero() -> None:
    assert Proof(100.0, 0.5, 0, 1).log10_p == pytest.approx(-2173.9, abs=0.1)
    assert Proof(3.0, 0.1, 0, 10).log10_p == pytest.approx(np.log10(stats.norm.sf(3.0) * 10), abs=1e-6)


@pytest.mark.slow
def test_what_was_cut_off_is_found_again(
    vocoder: Vocoder, recording: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("flowvocoder.analysis.provenance.PIECE", 0.1)
    monkeypatch.setattr("flowvocoder.analysis.provenance.SEARCHED", 1.0)
    made = vocoder.resynthesize(recording, seed=5)[0]
    sf.write(tmp_path / "cut.wav", made[3000:].numpy(), 22050)
    assert main(["prove", str(tmp_path / "cut.wav"), "--seed", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["offset"] == 3000
    parts = []
    assert (
        prove(vocoder, made[3000:], 5, watch=lambda work: (parts.append(part) or part for part in work)).offset == 3000
    )
    assert parts == list(range(0, 256, 32))


def test_silence_is_refused_before_it_is_searched(vocoder: Vocoder) -> None:
    with pytest.raises(AudioError, match="all samples are the same"):
        prove(vocoder, torch.zeros(8192), 5)
