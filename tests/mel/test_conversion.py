"""Mels of one convention for a voice of another."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from torch import Tensor

from flowvocoder.cli.main import main
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.mel.conversion import MelConversion, served
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.vocoder import Vocoder

CENTER, SAME = convention("tacotron2"), convention("hifigan")


def test_what_a_voice_takes() -> None:
    assert served(CENTER) == served(SAME) == ["tacotron2", "hifigan"]
    assert served(convention("vocos")) == ["vocos"]
    with pytest.raises(MelError, match=r"a vocos mel does not fit a voice of tacotron2 .*: sample_rate 24000, not"):
        MelConversion(convention("vocos"), CENTER)


def test_logarithm_and_floor() -> None:
    conversion = MelConversion(MelSpec(log="log10", floor=1e-10), CENTER)
    mel = torch.tensor([-10.0, -3.0, 0.5]).expand(1, 80, 3)
    expected = torch.tensor([math.log(1e-5), -3.0 * math.log(10.0), 0.5 * math.log(10.0)])
    assert torch.allclose(conversion.mel(mel)[0, 7], expected)


def some_mel(items: int = 1, frames: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(items, 80, frames, generator=generator) - 5.0


@pytest.fixture(params=["center for same", "same for center"])
def vocoder_and_name(request: pytest.FixtureRequest, small_voice: Path) -> tuple[Vocoder, str]:
    """A voice, and the convention whose frames lie elsewhere."""
    vocoder = Vocoder.from_pretrained(small_voice)
    if request.param == "same for center":
        return vocoder, "hifigan"
    vocoder.spec = SAME  # the weights are those of no training: what a mel means is all the same to them
    return vocoder, "tacotron2"


def test_audio_is_moved_by_half_a_hop(vocoder_and_name: tuple[Vocoder, str]) -> None:
    vocoder, name = vocoder_and_name
    mel = some_mel()
    audio = vocoder.synthesize(mel, seed=3, convention=name)
    assert audio.shape == (1, 40 * 256)
    longer = [mel[..., :1], mel] if name == "hifigan" else [mel, mel[..., -1:]]
    own = vocoder.synthesize(torch.cat(longer, 2), seed=3)
    assert torch.equal(audio, own[:, 128 : 128 + 40 * 256])


def test_items_and_chunks_get_what_they_get_alone(vocoder_and_name: tuple[Vocoder, str]) -> None:
    vocoder, name = vocoder_and_name
    mel, lengths = some_mel(items=2), [40, 17]
    mel[1, :, 17:] = 3.0  # loud rubbish, which must reach nothing
    together = vocoder.synthesize(mel, seed=3, lengths=lengths, convention=name)
    for item, frames in enumerate(lengths):
        alone = vocoder.synthesize(mel[item, :, :frames], seed=3 + item, convention=name)[0]
        assert (together[item, : frames * 256] - alone).abs().max() < 1e-5
        assert not together[item, frames * 256 :].any()
        stream = vocoder.stream(seed=3 + item, low_band_iters=24, convention=name)
        parts = [stream.push(mel[item, :, i : min(i + 7, frames)]) for i in range(0, frames, 7)]
        behind = round(stream.seconds_behind * 22050)
        assert sum(map(len, parts)) == max(0, frames * 256 - behind)
        assert (torch.cat([*parts, stream.flush()]) - alone).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tacotron2", "hifigan"])
def test_the_bundled_voice_speaks_it_as_well_as_its_own(name: str) -> None:
    vocoder, front_end = Vocoder.from_pretrained(), MelFrontEnd(convention(name))
    audio, _ = sf.read(Path("flowvocoder/examples/kathleen.flac"), dtype="float32")
    mel = front_end(torch.from_numpy(audio)[None])
    result = front_end(vocoder.synthesize(mel, seed=0, convention=name))
    assert (result[..., : mel.shape[2]] - mel[..., : result.shape[2]]).abs().mean() < 0.115


@pytest.mark.slow
def test_the_command(small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mel = some_mel()[0].numpy()
    np.save(tmp_path / "bare.npy", mel)
    write_mel(tmp_path / "named.npy", mel, SAME)
    write_mel(tmp_path / "other.npy", mel, convention("parallelwavegan"))

    def synth(name: str, *options: str) -> int:
        out = str(tmp_path / f"{name}.wav")
        return main(["synth", str(tmp_path / f"{name}.npy"), out, "--checkpoint", str(small_voice), *options])

    assert synth("bare", "--convention", "hifigan", "--seed", "3") == synth("named", "--seed", "3") == 0
    assert (tmp_path / "bare.wav").read_bytes() == (tmp_path / "named.wav").read_bytes()
    assert synth("bare", "--seed", "3") == 0
    assert (tmp_path / "bare.wav").read_bytes() != (tmp_path / "named.wav").read_bytes()
    capsys.readouterr()
    for name, options, said in [
        ("other", [], "a parallelwavegan mel does not fit a voice of tacotron2 mels: fmin 80.0, not 0.0"),
        ("named", ["--convention", "tacotron2"], "is a hifigan mel, --convention says tacotron2: padding same"),
        ("bare", ["--convention", "nobody"], "unknown mel convention 'nobody'"),
    ]:  # fmt: skip
        assert synth(name, *options) == 2
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1


def test_the_door(small_voice: Path) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    with pytest.raises(ConfigError, match="unknown mel convention"):
        vocoder.synthesize(some_mel(), convention="nobody")
    with pytest.raises(MelError, match="n_mels 100, not 80"):
        vocoder.stream(convention="vocos")
