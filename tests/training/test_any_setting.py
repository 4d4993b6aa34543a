"""Settings that pass the checks work together: whatever the mel and the sizes, a model is built, trained and speaks."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import soundfile as sf
import torch
from helpers import speech_like
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny_models import TINY

from flowvocoder.config import (
    Experiment,
    LossWeights,
    ModelConfig,
    OptimSettings,
    SamplingSettings,
    TrainConfig,
    check,
    override,
)
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.lapglow import LapGlowConfig
from flowvocoder.presets import preset
from flowvocoder.settings import limits_of
from flowvocoder.training.block_tones import BlockTonePower
from flowvocoder.training.trainer import Trainer
from flowvocoder.vocoder import Vocoder

# WaveGlow's upsampler has as many weights as its window times the bands squared: minutes, for 300 bands and its 1024.
MODELS = [
    *(dataclasses.replace(model, window=256) if hasattr(model, "window") else model for model in TINY.values()),
    LapGlowConfig(block=16, flows=2),
    LapGlowConfig(block=16, flows=2, coupling="spline"),
    LapGlowConfig(block=16, flows=2, coupling="additive"),
    LapGlowConfig(block=32, causal=False, band_groups=1),
]
SAMPLES = 4800
"""Of the recording: more than the longest segment."""
NARROW = {"channels", "encoder_channels", "scale_channels", "pitch_channels", "band_group_channels"}
"""Sizes of networks, at most 4 here: what they compute with has nothing to do with how many of them there are."""


@st.composite
def mels(draw: st.DrawFn) -> MelSpec:
    """Of hops that go with the blocks of `MODELS`."""
    hop = draw(st.sampled_from([32, 64, 96, 160, 256]))
    n_fft = draw(st.sampled_from([1, 2, 3, 4])) * hop + draw(st.sampled_from([0, 0, 1, 16]))
    rate = draw(st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]))
    n_mels = draw(st.sampled_from([1, 2, 8, n_fft // 2 + 1]))
    return MelSpec(
        rate, n_fft, draw(st.sampled_from([2, n_fft // 2, n_fft])), hop, n_mels,
        fmax=draw(st.sampled_from([n_mels, rate / 4, rate / 2])),
        mel_scale=draw(st.sampled_from(["slaney", "htk"])), norm=draw(st.sampled_from(["slaney", "none"])),
        padding=draw(st.sampled_from(["center", "same"])), log=draw(st.sampled_from(["ln", "log10"])),
        magnitude_eps=draw(st.sampled_from([0.0, 1e-9, 1.0])), floor=draw(st.sampled_from([1e-20, 1e-5, 1.0])),
    )  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    """One of `MODELS` with other sizes, but for those that the hop decides."""
    model = draw(st.sampled_from(MODELS))
    changes: dict[str, object] = {}
    for field in dataclasses.fields(model):
        if field.name in NARROW:
            changes[field.name] = draw(st.integers(1, 4))
        elif isinstance(field.default, bool):
            changes[field.name] = draw(st.booleans())
        elif field.name in {"kernel", "pitch_filters", "encoder_ahead", "encoder_layers", "subband_merging"}:
            lowest, highest = map(int, limits_of(model)[field.name])
            most = 5 if field.name in {"kernel", "encoder_layers"} else highest  # more of these only takes longer
            changes[field.name] = draw(st.sampled_from([1, 3, lowest, most]))
    return dataclasses.replace(model, **changes)


@st.composite
def trainings(draw: st.DrawFn) -> TrainConfig:
    weight = st.sampled_from([0.0, 1.0])
    losses = LossWeights(
        spectral=draw(weight), pulse=draw(weight), period=draw(weight), adversarial=draw(weight),
        discriminator_channels=1,
    )  # fmt: skip
    sampling = SamplingSettings(gl_iters=draw(st.integers(0, 2)), low_band_iters=draw(st.integers(0, 1)))
    return TrainConfig("flow", OptimSettings(batch=2, segment=draw(st.sampled_from([1024, 4096]))), losses, sampling)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(models(), mels(), trainings())
def test_what_passes_the_checks_trains_and_speaks(model: ModelConfig, mel: MelSpec, training: TrainConfig) -> None:
    experiment = Experiment(model, mel, training)
    try:
        check(experiment)
    except ConfigError:
        assume(False)
    recording = torch.from_numpy(speech_like(SAMPLES / mel.sample_rate, mel.sample_rate))
    with TemporaryDirectory() as folder:
        (corpus := Path(folder) / "corpus").mkdir()
        sf.write(corpus / "a.wav", recording.numpy(), mel.sample_rate)
        trainer = Trainer(experiment, [corpus], Path(folder) / "run")
        try:
            assert "skipped" not in trainer.train_step(1e-4)
        finally:
            trainer.close()
    voice = trainer.averaged()
    vocoder = Vocoder(voice.model, voice.card, voice.postfilter)
    mel_of_it = vocoder.mel_for(recording)  # one of a floor at full scale is all zeros, which looks like nothing known
    spoken = vocoder.synthesize(mel_of_it, seed=0, gl_iters=1, low_band_iters=1, trust_mel=True)
    assert spoken.isfinite().all() and vocoder.score(recording).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mel.hop_length=1024"], "mel.hop_length 1024 must be at most half of mel.n_fft 1024"),
        (["mel.floor=1e-300"], "mel.floor must be from 1e-20 to 1, not 1e-300"),
        (["mel.sample_rate=4000", "mel.fmax=2000"], "mel.sample_rate must be from 8000"),
        (["mel.fmin=7990"], "fmin 7990 and fmax 8000 must be .* at least 1 Hz a band apart, n_mels 80"),
        (["mel.win_length=2048"], "mel.win_length 2048 must be at most n_fft 1024"),
        (["losses.spectral=1", "segment=2048", "mel.n_fft=512", "mel.win_length=512"], "segment 2048 .* at least 4096"),
    ],
)  # fmt: skip
def test_what_could_not_train_is_refused_before_it_starts(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(preset("lapglow-tiny"), settings)


def test_block_tones_need_blocks() -> None:
    with pytest.raises(ConfigError, match="even number of samples, not 1"):
        BlockTonePower(1)
