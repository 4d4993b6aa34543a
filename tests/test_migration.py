"""What version 0.1 wrote loads today and gives the same numbers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import run
from helpers import speech_like
from safetensors.torch import load_file

from flowvocoder.checkpoint import load_checkpoint, save_checkpoint
from flowvocoder.config import PostfilterConfig, override
from flowvocoder.legacy import SETTINGS
from flowvocoder.migration import card_from_about, migrated
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.renamed import RenamedWarning
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

OLD = Path(__file__).parent / "data" / "format1"
EXPECTED = json.loads((OLD / "expected.json").read_text())
ARCHITECTURES = sorted(set(EXPECTED) - {"run"})


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_gives_the_same_nats_and_the_same_audio(architecture: str, tmp_path: Path) -> None:
    audio = torch.from_numpy(speech_like(1.0, 22050)).float()
    save_checkpoint(tmp_path / "new", load_checkpoint(OLD / architecture))
    for path in (OLD / architecture, tmp_path / "new"):
        vocoder, expected = Vocoder.from_pretrained(path), EXPECTED[architecture]
        assert float(vocoder.score(audio)) == pytest.approx(expected["nats"], abs=1e-5)
        synthesised = vocoder.synthesize(vocoder.mel_for(audio), seed=0, low_band_iters=0)[0]
        assert synthesised[5000:5008].tolist() == pytest.approx(expected["samples"], abs=1e-4)
        # Version 0.1 did not limit the loudest samples of these models, which are hardly trained.
        assert float(synthesised.square().mean().sqrt()) == pytest.approx(expected["rms"], abs=5e-4)
        assert vocoder.card == VoiceCard(
            step=7, licence="CC0-1.0", temperature=0.7, postfilter=PostfilterSettings(2, 24), training_data=("toy",),
            metrics={"nats": 1.5}, extra={"mine": {"kept": [1, 2]}},
        )  # fmt: skip
        assert (vocoder.postfilter.guide is not None) == (architecture == "lapglow")


@pytest.mark.slow
def test_a_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    """To nearly the weights that 0.1 would have trained: it learned its last step from three rounds in place of one."""
    out = tmp_path / "run"
    shutil.copytree(OLD / "run", out)
    assert run("train", "--corpus", corpus, "--out", out, "--resume", "--threads", "1") == 0
    weights = load_file(out / "checkpoint" / "model.safetensors")
    expected = EXPECTED["run"]["fine.last.bias"]
    assert weights["postfilter.guide.last.bias"][:8].tolist() == pytest.approx(expected, abs=1e-4)
    assert load_checkpoint(out / "checkpoint").card.step == 3


@pytest.mark.parametrize(
    ("about", "card"),
    [
        ({"match": 4, "low_match": 40}, VoiceCard(postfilter=PostfilterSettings(4, 40))),
        ({"match": -1, "low_match": "x"}, VoiceCard()),
        ({"step": "seven", "author": "me"}, VoiceCard(extra={"step": "seven", "author": "me"})),
        ({"training_data": ["a", 1]}, VoiceCard(extra={"training_data": ["a", 1]})),
        ({"source": "x.pt", "layout": "WaveGlow"}, VoiceCard(source="x.pt", layout="WaveGlow")),
    ],
)
def test_nothing_that_a_voice_says_of_itself_is_lost(about: dict[str, Any], card: VoiceCard) -> None:
    read = VoiceCard.from_dict(card_from_about(about))
    assert read == card
    assert VoiceCard.from_dict(json.loads(json.dumps(read.to_dict()))) == card


def test_every_setting_has_a_place() -> None:
    """Old settings land where the table says, and nowhere else."""
    sections: dict[str, Any] = {"architecture": "lapglow", "model": {}, "mel": {}, "train": {}, "about": {}}
    for index, old in enumerate(SETTINGS, 1):
        section, name = old.split(".")
        sections[section][name] = index
    new = migrated({**sections, "format_version": 1})
    for index, place in enumerate(SETTINGS.values(), 1):
        value: Any = new
        for key in place.split("."):
            value = value[key]
        assert value == index
    in_model = {place.split(".")[1] for place in SETTINGS.values() if place.startswith("model.")}
    assert new["model"].keys() == {"architecture", *in_model}


def test_an_old_setting_is_taken_by_its_new_name() -> None:
    with pytest.warns(RenamedWarning, match=r"model\.fine_channels is now --set postfilter\.guide_channels"):
        experiment = override(preset("lapglow-tiny"), ["model.fine_channels=8"])
    assert experiment.postfilter == PostfilterConfig(guide_channels=8)
