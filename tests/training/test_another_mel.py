"""A trained voice begins near what it was when its mel becomes another."""

import dataclasses
from pathlib import Path

import pytest
import soundfile as sf
import torch

import flowvocoder
from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, load_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import Experiment, override
from flowvocoder.errors import CheckpointError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.guide import Guide
from flowvocoder.presets import preset
from flowvocoder.training.another_mel import guide_keeps, take_guide_of_another_mel
from flowvocoder.training.start import initial_voice
from flowvocoder.voice_card import BUNDLED_VOICE

KATHLEEN = Path(flowvocoder.__file__).parent / "examples" / "kathleen.flac"


@pytest.fixture(scope="module")
def bundled() -> Checkpoint:
    return load_checkpoint(BUNDLED_VOICE)


def of(start: Checkpoint, mel: MelSpec) -> Experiment:
    experiment = dataclasses.replace(start.experiment, mel=mel, postfilter=None)
    return override(experiment, ["stage=flow"])


def nats(model: FlowVocoder, mel: MelSpec) -> float:
    """A sample of a second of the example, whose samples are taken to be at the mel's rate."""
    audio = torch.from_numpy(sf.read(KATHLEEN, dtype="float32")[0])[None, 22050 : 22050 + 86 * mel.hop_length]
    frames = MelFrontEnd(mel)(audio)[..., :86]
    with torch.no_grad():
        return float(model.log_prob(audio, frames)) / audio.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hifigan", "parallelwavegan", "vocos"])
def test_likelihood_before_training_is_near_that_of_the_voice(name: str, bundled: Checkpoint) -> None:
    mel = convention(name)
    experiment = of(bundled, mel)
    fresh = nats(build_model(experiment), mel)
    trained = nats(bundled.model, bundled.experiment.mel)
    ours = nats(initial_voice(experiment, bundled, BUNDLED_VOICE)[0], mel)
    assert ours > trained - 0.3 and ours > fresh + 0.2, (fresh, ours, trained)


def test_the_same_mel_by_another_name_keeps_every_weight(bundled: Checkpoint) -> None:
    """A floor that nothing reaches."""
    spec = bundled.experiment.mel
    model, _ = initial_voice(of(bundled, dataclasses.replace(spec, floor=1e-9)), bundled, BUNDLED_VOICE)
    expected = bundled.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-5), name


@pytest.mark.parametrize("settings", [["mel.hop_length=512"], ["mel=hifigan", "stage=samples", "losses.pulse=1"]])
def test_another_hop_or_stage_is_refused(settings: list[str], bundled: Checkpoint) -> None:
    experiment = override(of(bundled, bundled.experiment.mel), settings)
    with pytest.raises(CheckpointError, match="has another mel than this run: "):
        initial_voice(experiment, bundled, BUNDLED_VOICE)


def test_a_guide_whose_windows_are_other_samples_is_refused(bundled: Checkpoint) -> None:
    mel = dataclasses.replace(bundled.experiment.mel, n_fft=2048)
    experiment = dataclasses.replace(of(bundled, mel), postfilter=bundled.experiment.postfilter)
    with pytest.raises(CheckpointError, match="has another mel than this run: n_fft 1024, not 2048"):
        initial_voice(experiment, bundled, BUNDLED_VOICE)


def test_a_waveglow_is_refused() -> None:
    experiment = override(preset("waveglow-256"), ["model.channels=8", "model.layers=1"])
    start = Checkpoint(build_model(experiment), experiment)
    with pytest.raises(CheckpointError, match="a waveglow for another mel has to be trained from nothing"):
        initial_voice(override(experiment, ["mel=hifigan"]), start, Path("voice"))


FURTHER, BACK = "sample_rate 22050, not 24000; n_mels 80, not 100;", "sample_rate 24000, not 22050; n_mels 100, not 80;"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "named", "mel", "said"),
    [
        pytest.param("universal-22k", ["--set", "mel=vocos"], "vocos", FURTHER, marks=pytest.mark.thorough),
        ("universal-22k", ["--preset", "universal-24k-stage1"], "vocos", FURTHER),
        ("universal-24k", ["--preset", "universal-22k-stage1"], "tacotron2", BACK),
        pytest.param("universal-24k", ["--preset", "lapglow-stage1"], "vocos", "", marks=pytest.mark.thorough),
    ],
)
def test_the_command_says_so_and_keeps_the_guide(
    start: str, named: list[str], mel: str, said: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*named, "--set", "batch=2", "--set", "segment=4096", "--max-steps", "1"]
    command = ["train", "--init-from", start, "--corpus", str(corpus), "--out", str(tmp_path / "run"), *flags]
    assert main(command) == 0
    text = capsys.readouterr().err
    assert said in text and ("has another mel" in text) == bool(said)
    made = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert made.experiment.mel == convention(mel) and made.postfilter is not None


def test_the_smallest_voice_has_at_most_two_million_parameters() -> None:
    experiment = preset("pocket-22k-stage3")
    parts = [build_model(experiment), build_postfilter(experiment)]
    assert 1e6 < sum(p.numel() for part in parts if part is not None for p in part.parameters()) < 2e6


def test_a_guide_predicts_recordings_of_another_rate_before_training(bundled: Checkpoint) -> None:
    """The same samples, taken to be at either rate: what a guide that knows nothing predicts is far off."""
    assert bundled.postfilter is not None and bundled.postfilter.guide is not None
    theirs, mel, trained_mel = bundled.postfilter.guide, convention("vocos"), bundled.experiment.mel
    ours = Guide(mel, theirs.start.out_features, len(theirs.layers))
    audio = torch.from_numpy(sf.read(KATHLEEN, dtype="float32")[0])[None, : 86 * 2 * mel.hop_length]
    untrained = guide_loss(ours, mel, audio)
    take_guide_of_another_mel(ours, mel, theirs, trained_mel)
    loss, trained = guide_loss(ours, mel, audio), guide_loss(theirs, trained_mel, audio)
    assert loss < untrained - 0.5 and loss < trained + 0.5, (untrained, loss, trained)


def guide_loss(guide: Guide, mel: MelSpec, audio: torch.Tensor) -> float:
    low, frames = guide.band.of(audio), MelFrontEnd(mel)(audio)[..., : audio.shape[1] // mel.hop_length]
    with torch.no_grad():
        return float(guide.loss(low, low, frames))


def test_a_guide_whose_windows_are_other_samples_is_not_kept() -> None:
    mel = convention("tacotron2")
    assert guide_keeps(mel, convention("vocos")) and not guide_keeps(mel, dataclasses.replace(mel, n_fft=2048))
