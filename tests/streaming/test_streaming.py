"""Streaming equals offline, whatever the chunks, lengths and batches; and what may influence what."""

import math

import pytest
import torch
from bijection import perturb
from torch import Tensor

from flowvocoder.checkpoint import build_model
from flowvocoder.config import override
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.presets import preset
from flowvocoder.streaming.noise import NoiseSource
from flowvocoder.vocoder import Vocoder

FRAMES = 60

SETTINGS = [
    ["model.block=64"],
    ["model.block=128", "model.layers=3", "model.kernel=5"],
    ["model.block=256", "model.layers=1"],
    ["model.pitch=false"],
    ["model.causal=true", "model.encoder_ahead=1"],
    ["model.causal=true", "model.encoder_ahead=0", "model.block=256"],
    ["mel.hop_length=200", "model.block=40"],  # blocks that are no whole groups of the recursion
    ["model.band_groups=4", "model.causal=true", "model.encoder_ahead=3"],
    ["model.band_groups=2", "model.block=64"],
    ["model.pitch_excitation=true", "model.causal=true", "model.encoder_ahead=3", "model.block=256"],
    ["model.pitch_excitation=true", "mel.hop_length=200", "model.block=40"],
    ["model.coupling=spline", "model.spline_bins=3"],
    ["model.coupling=additive"],
    ["model.layers=1", "model.kernel=1"],  # couplings that look less far ahead than the envelope
]


def tiny(settings: list[str], dtype: torch.dtype = torch.float64) -> Vocoder:
    torch.manual_seed(0)
    model = build_model(override(preset("lapglow-tiny"), settings)).to(dtype)
    perturb(model, 0.03)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("sample_pulse.bias"):
                parameter += 4.0  # pulses that can be heard
    return Vocoder(model)


def some_mel(vocoder: Vocoder, items: int = 1, frames: int = FRAMES) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(items, vocoder.spec.n_mels, frames, generator=generator).to(vocoder.dtype) - 5.0


def streamed(vocoder: Vocoder, mel: Tensor, sizes: Tensor, seed: int = 3) -> Tensor:
    stream, out, first = vocoder.stream(1.0, seed), [], 0
    for size in sizes.tolist():
        out.append(stream.push(mel[0, :, first : first + size]))
        first += size
        if first >= mel.shape[2] + 2:  # a push of nothing, now and then
            break
    assert first >= mel.shape[2]
    return torch.cat([*out, stream.flush()])


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
def test_streaming_equals_the_whole(settings: list[str], thorough: bool) -> None:
    vocoder = tiny(settings)
    mel = some_mel(vocoder, frames=40)
    noise = vocoder.draw_noise(mel, 1.0, 3)
    with torch.inference_mode():
        inverse = vocoder.model.decode(noise, mel)[0]  # by the layers that training uses
        whole = vocoder.model.sample(noise, mel)[0]
    assert (vocoder.decode(noise, mel)[0] - inverse).abs().max() < 1e-9
    assert (vocoder.synthesize(mel, 1.0, seed=3)[0] - whole).abs().max() < 1e-9
    generator = torch.Generator().manual_seed(len(settings))
    for largest in (1, 7, 100) if thorough else (7,):
        sizes = torch.randint(1, largest + 1, (FRAMES,), generator=generator)
        assert (streamed(vocoder, mel, sizes) - whole).abs().max() < 1e-9


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_streams_shorter_than_the_look_ahead(frames: int) -> None:
    vocoder = tiny(SETTINGS[1])
    mel = some_mel(vocoder, frames=frames)
    assert vocoder.look_ahead > frames * 256
    with torch.inference_mode():
        whole = vocoder.model.sample(vocoder.draw_noise(mel, 1.0, 3), mel)[0]
    assert (streamed(vocoder, mel, torch.ones(frames, dtype=torch.int64)) - whole).abs().max() < 1e-9


@pytest.mark.slow
def test_the_bundled_voice_streams_in_float32() -> None:
    vocoder = Vocoder.from_pretrained()
    mel = some_mel(vocoder)
    whole = vocoder.synthesize(mel, seed=3)[0]
    stream = vocoder.stream(seed=3, low_band_iters=vocoder.low_band_iters)
    parts = [stream.push(mel[0, :, i : i + 8]) for i in range(0, FRAMES, 8)]
    assert (torch.cat([*parts, stream.flush()]) - whole).abs().max() < 1e-4
    with torch.inference_mode():
        reference = vocoder.model.sample(vocoder.draw_noise(mel, None, 3), mel)[0]
    assert (vocoder.synthesize(mel, seed=3, gl_iters=0)[0] - reference).abs().max() < 1e-4
    assert (whole - reference).abs().max() > 1e-3


@pytest.mark.slow
def test_chunks_of_a_long_mel_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = tiny(SETTINGS[0])
    mel = some_mel(vocoder, items=2)
    whole = vocoder.synthesize(mel, 1.0, seed=3)
    monkeypatch.setattr("flowvocoder.streaming.pieces.CHUNK", 14)
    assert len(list(vocoder.synthesize_pieces(mel, 1.0, seed=3))) > 8
    assert (vocoder.synthesize(mel, 1.0, seed=3) - whole).abs().max() < 1e-9


@pytest.mark.slow
def test_a_padded_batch_gives_each_item_what_it_gets_alone() -> None:
    vocoder = tiny(SETTINGS[0])
    lengths = [20, FRAMES, 1, 41]
    mel = some_mel(vocoder, items=4)
    for item, frames in enumerate(lengths):
        mel[item, :, frames:] = 3.0  # loud rubbish, which must reach nothing
    together = vocoder.synthesize(mel, 1.0, seed=7, lengths=lengths)
    for item, frames in enumerate(lengths):
        alone = vocoder.synthesize(mel[item, :, :frames], 1.0, seed=7 + item)[0]
        assert (together[item, : frames * 256] - alone).abs().max() < 1e-9
        assert not together[item, frames * 256 :].any()
    with pytest.raises(MelError, match="do not fit"):
        vocoder.synthesize(mel, lengths=[20, FRAMES + 1, 1, 41])


@pytest.mark.parametrize("settings", SETTINGS[:6], ids=" ".join)
def test_look_ahead_is_what_the_configuration_says(settings: list[str]) -> None:
    """A frame changes nothing that lies further before it than the look-ahead, and something just after that."""
    vocoder = tiny(settings)
    mel = some_mel(vocoder)
    changed = mel.clone()
    frame = 40
    changed[0, :, frame] += 1.0
    difference = (vocoder.synthesize(mel, 1.0, seed=1) - vocoder.synthesize(changed, 1.0, seed=1))[0].abs()
    first = frame * 256 - vocoder.look_ahead
    assert not difference[:first].any(), "something further back changed"
    inside = 2 * vocoder.model.block  # the look-ahead counts whole blocks, and the first coupling's noise
    kernel = override(preset("lapglow-tiny"), settings).model.kernel
    reach = (kernel - 1) // 2 * vocoder.model.block
    assert difference[first : first + inside + reach].any(), "the look-ahead is shorter than stated"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[4], SETTINGS[5], SETTINGS[6]], ids=" ".join)
def test_a_stream_is_exactly_as_late_as_it_says_and_gives_the_whole(settings: list[str]) -> None:
    """Also where the flow's look-ahead is no whole number of hops, or none at all."""
    vocoder = tiny(settings)
    mel = some_mel(vocoder, frames=30)
    for latency in (1000 * vocoder.look_ahead / vocoder.sample_rate + 30.0, 10_000.0):
        stream, parts, late, out = vocoder.stream(1.0, 3, latency_ms=latency), [], 0, 0
        for frame in range(30):
            parts.append(stream.push(mel[0, :, frame : frame + 1]))
            out += len(parts[-1])
            late = max(late, (frame + 1) * vocoder.spec.hop_length - out)
        assert late == pytest.approx(stream.seconds_behind * vocoder.sample_rate)
        assert 1000 * stream.seconds_behind < latency + 0.5
        whole = vocoder.synthesize(mel, 1.0, seed=3, latency_ms=latency)[0]
        assert (torch.cat([*parts, stream.flush()]) - whole).abs().max() < 1e-9
        assert (vocoder.synthesize(mel, 1.0, seed=3)[0] - whole).abs().max() > 1e-3, "this voice has no iterations"


@pytest.mark.slow
def test_a_frame_reaches_back_no_further_than_stated() -> None:
    vocoder = tiny(["model.pitch=false"])
    mel = some_mel(vocoder)
    changed = mel.clone()
    changed[0, :, 10] += 1.0
    difference = (vocoder.synthesize(mel, 1.0, seed=1) - vocoder.synthesize(changed, 1.0, seed=1))[0].abs()
    reach = vocoder.look_back
    assert math.isfinite(reach)
    last = 11 * 256 + int(reach)
    assert not difference[last:].any() and difference[last - 4 * vocoder.model.block : last].any()
    assert tiny(["model.pitch=true"]).look_back == math.inf


@pytest.mark.slow
def test_live_preset_looks_ahead_at_most_50_ms() -> None:
    vocoder = Vocoder(build_model(preset("lapglow-streaming")))
    assert 0 < vocoder.look_ahead / vocoder.sample_rate <= 0.050


@pytest.mark.parametrize(("rate", "block"), [(2, 128), (5, 60), (1, 22)])
def test_noise_belongs_to_a_position(rate: int, block: int) -> None:
    whole = NoiseSource(4, 2, rate, block).draw(50)
    source = NoiseSource(4, 2, rate, block)
    parts = torch.cat([source.draw(n) for n in (1, 3, 40, 6)], 1)
    assert torch.equal(parts, whole) and abs(float(whole.std()) - 1.0) < 0.05
    assert torch.equal(NoiseSource(5, 1, rate, block).draw(20)[0], whole[1, : 20 * rate])
    assert not torch.equal(whole[0], whole[1])


def test_folded_weights_are_never_stale() -> None:
    vocoder = tiny(SETTINGS[0])
    mel = some_mel(vocoder)
    before = vocoder.synthesize(mel, 1.0, seed=3)
    perturb(vocoder.model, 0.02, seed=9)
    after = vocoder.synthesize(mel, 1.0, seed=3)
    with torch.inference_mode():
        reference = vocoder.model.sample(vocoder.draw_noise(mel, 1.0, 3), mel)
    assert not torch.equal(before, after) and (after - reference).abs().max() < 1e-9


@pytest.mark.slow
def test_stream_refuses() -> None:
    vocoder = tiny(SETTINGS[0])
    stream = vocoder.stream()
    assert stream.push(torch.zeros(80, 0)).shape == (0,)
    with pytest.raises(MelError, match="expected"):
        stream.push(torch.zeros(79, 4))
    with pytest.raises(MelError, match="NaN"):
        stream.push(torch.full((80, 1), math.nan))
    with pytest.raises(MelError, match="one utterance"):
        stream.push(torch.zeros(2, 80, 4))
    assert stream.flush().shape == (0,)
    with pytest.raises(MelError, match="ended"):
        stream.push(torch.zeros(80, 1))
    with pytest.raises(ConfigError, match="temperature"):
        vocoder.stream(temperature=-1.0)
    short = tiny(["model.block=16"])
    assert short.synthesize(some_mel(short, 1, 8)).isfinite().all()
    with pytest.raises(ConfigError, match="cannot stream"):
        short.stream()
    assert short.synthesize(some_mel(short, 2, 8), lengths=[8, 3]).shape == (2, 8 * 256)
