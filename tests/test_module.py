"""`Vocoder` in other people's programs: as a PyTorch module, under other defaults, and with what they have at hand."""

import copy
import functools
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from bijection import perturb
from conftest import SMALL, SMALL_CARD
from helpers import heard, speech_like
from torch import Tensor, nn

from flowvocoder.analysis.damage import Damage
from flowvocoder.analysis.walk import walk
from flowvocoder.checkpoint import build_model
from flowvocoder.config import override
from flowvocoder.errors import (
    AudioError,
    CheckpointError,
    ClippedWarning,
    ConfigError,
    ImplausibleMelError,
    MelError,
    OutputError,
)
from flowvocoder.evaluation.griffin_lim import griffin_lim
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.presets import preset
from flowvocoder.units import HIGHEST
from flowvocoder.vocoder import Vocoder

AUDIO = torch.from_numpy(speech_like(0.4, 22050))[: 24 * 256]


@pytest.fixture
def vocoder(small_voice: Path) -> Vocoder:
    return Vocoder.from_pretrained(small_voice)


@pytest.fixture(scope="module")
def mel(small_voice: Path) -> Tensor:
    return Vocoder.from_pretrained(small_voice).mel_for(AUDIO)


class Speaker(nn.Module):
    """A person's own module, of which a vocoder is a part."""

    def __init__(self, vocoder: Vocoder):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.vocoder = vocoder

    def forward(self, mel: Tensor) -> Tensor:
        audio: Tensor = self.vocoder(mel + self.bias, seed=0)
        return audio


def test_a_call_synthesizes(vocoder: Vocoder, mel: Tensor) -> None:
    assert torch.equal(vocoder(mel, 0.5, seed=1), vocoder.synthesize(mel, 0.5, seed=1))


def test_to_float64_and_back_gives_the_same_audio(vocoder: Vocoder, mel: Tensor) -> None:
    before, latent = vocoder(mel, seed=0), vocoder.encode(AUDIO)[0]
    double = vocoder.to(torch.float64)(mel, seed=0)
    assert double.dtype == vocoder.dtype == vocoder.mel(AUDIO).dtype == torch.float64
    assert 0 < (double - before).abs().max() < 1e-3
    assert 0 < (vocoder.encode(AUDIO)[0] - latent).abs().max() < 1e-3
    vocoder.float()
    assert torch.equal(vocoder(mel, seed=0), before) and torch.equal(vocoder.encode(AUDIO)[0], latent)


@pytest.mark.parametrize("less", [nn.Module.half, nn.Module.bfloat16])
def test_half_precision_leaves_it_as_it_is(
    less: Callable[[nn.Module], nn.Module], vocoder: Vocoder, mel: Tensor
) -> None:
    before = vocoder(mel, seed=0)
    assert torch.equal(less(vocoder)(mel, seed=0), before)
    outer = Speaker(vocoder)
    less(outer)
    assert outer.bias.dtype != torch.float32 and vocoder.dtype == torch.float32
    assert torch.equal(vocoder(mel.half().float(), seed=0), vocoder(mel.half(), seed=0))


def test_the_flow_alone_may_be_moved(vocoder: Vocoder, mel: Tensor) -> None:
    expected = copy.deepcopy(vocoder).double()(mel, seed=0)
    vocoder.model.double()
    assert torch.equal(vocoder(mel, seed=0), expected)
    assert vocoder.mel(AUDIO).dtype == vocoder.denoiser()(expected, 0.1).dtype == torch.float64


def test_as_a_part_of_another_module(vocoder: Vocoder, mel: Tensor) -> None:
    alone, outer = vocoder(mel, seed=0), Speaker(vocoder)
    outer.train()
    assert torch.equal(outer(mel), alone)
    assert outer.training and not any(module.training for module in vocoder.modules())
    outer.double()
    kinds = {tensor.dtype for tensor in (*vocoder.parameters(), *vocoder.buffers()) if tensor.is_floating_point()}
    assert kinds == {torch.float64} and outer(mel.double()).dtype == torch.float64
    assert [name for name, p in outer.named_parameters() if p.requires_grad] == ["bias"]


@pytest.mark.slow
def test_its_state_goes_into_another(vocoder: Vocoder, mel: Tensor, small_voice: Path) -> None:
    other = Vocoder.from_pretrained(small_voice)
    perturb(other)
    assert not torch.equal(other(mel, seed=0), vocoder(mel, seed=0))
    outer = Speaker(other)
    state = {f"vocoder.{name}": tensor for name, tensor in vocoder.state_dict().items()}
    outer.load_state_dict({"bias": torch.zeros(1), **state})
    assert torch.equal(other(mel, seed=0), vocoder(mel, seed=0))
    assert {name.split(".")[0] for name in vocoder.state_dict()} == {"model", "postfilter"}


def test_saving_replaces_no_folder_of_other_things(vocoder: Vocoder, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds thesis\.tex and is no checkpoint"):
        vocoder.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.slow
def test_copies_and_pickles_sound_alike(vocoder: Vocoder, mel: Tensor, tmp_path: Path) -> None:
    audio = vocoder(mel, seed=0)  # its steps are made
    torch.save(vocoder, tmp_path / "whole.pt")
    for other in (
        copy.deepcopy(vocoder),
        pickle.loads(pickle.dumps(vocoder)),
        torch.load(tmp_path / "whole.pt", weights_only=False),
    ):
        assert torch.equal(other(mel, seed=0), audio) and other.card == vocoder.card
        perturb(other)
        assert not torch.equal(other(mel, seed=0), audio) and torch.equal(vocoder(mel, seed=0), audio)


def test_what_it_saves_it_loads(vocoder: Vocoder, mel: Tensor, tmp_path: Path) -> None:
    vocoder.double().save_pretrained(tmp_path / "saved")
    again = Vocoder.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(mel, seed=0), vocoder.float()(mel, seed=0)) and again.card == SMALL_CARD
    vocoder.save_pretrained(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("saved", "half")]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    again = Vocoder.from_pretrained(tmp_path / "half")
    halved, whole = (v.state_dict()["model.encoder.start.weight"] for v in (again, vocoder))
    assert torch.equal(halved, whole.half().float())
    with pytest.raises(ConfigError, match="what it was trained with"):
        Vocoder(vocoder.model).save_pretrained(tmp_path / "bare")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Vocoder.from_pretrained(tmp_path / "bare")


@pytest.mark.slow
def test_threads_share_one(vocoder: Vocoder, mel: Tensor) -> None:
    with ThreadPoolExecutor(4) as pool:
        for seed, audio in enumerate(pool.map(lambda seed: vocoder(mel, seed=seed), range(8))):
            assert torch.equal(audio, vocoder(mel, seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.thorough)])
def test_workers_of_a_data_loader_synthesize(start: str, vocoder: Vocoder, mel: Tensor) -> None:
    class Spoken(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 2

        def __getitem__(self, seed: int) -> Tensor:
            audio: Tensor = vocoder(mel, seed=seed)[0]
            return audio

    with torch.multiprocessing.get_context(start).Pool(1) as pool:
        assert torch.equal(pool.apply(vocoder, (mel,), {"seed": 1}), vocoder(mel, seed=1))
    if start == "fork":
        loader = torch.utils.data.DataLoader(Spoken(), 2, num_workers=1, multiprocessing_context=start)
        assert torch.equal(next(iter(loader)), torch.cat([vocoder(mel, seed=seed) for seed in range(2)]))


@pytest.mark.slow
def test_compiling_around_it_changes_nothing(vocoder: Vocoder, mel: Tensor) -> None:
    expected = vocoder(mel, seed=0)
    assert torch.equal(torch.compile(vocoder, backend="eager")(mel, seed=0), expected)
    assert torch.equal(torch.compile(Speaker(vocoder), backend="eager")(mel), expected)
    assert torch.equal(torch.compile(vocoder.log_prob, backend="eager")(AUDIO), vocoder.log_prob(AUDIO))


@contextmanager
def default(value: str) -> Iterator[None]:
    if value == "meta":
        torch.set_default_device(value)
    else:
        torch.set_default_dtype(getattr(torch, value))
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def everything(voice: Path, mel: Tensor) -> dict[str, Tensor]:
    fresh = Vocoder.from_pretrained(voice)
    results = heard(fresh, AUDIO, mel)
    torch.manual_seed(0)
    model = Vocoder(build_model(override(preset("lapglow-tiny"), SMALL)))
    states = {**dict(fresh.named_buffers()), **model.state_dict(), **dict(PostFilter(fresh.spec).named_buffers())}
    damaged = {"damaged": Damage(noise_db=-20.0, band_limit=4000.0, gap=0.05).apply(AUDIO, 22050)}
    walked = {step.name: step.state for step in walk(fresh, AUDIO)}
    return {**results, **states, **damaged, **walked, "griffin-lim": griffin_lim(mel, fresh.spec, 2)}


@pytest.fixture(scope="module")
def plain(small_voice: Path, mel: Tensor) -> dict[str, Tensor]:
    """Everything under the defaults that a program begins with."""
    return everything(small_voice, mel)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["float64", "float16", "meta"])
def test_defaults_of_the_program_change_nothing(
    value: str, small_voice: Path, mel: Tensor, plain: dict[str, Tensor]
) -> None:
    """Loading, buffers, noise, steps and tables: all is made under other defaults, in another thread, and the same."""
    with default(value):
        found = everything(small_voice, mel)
    for name, tensor in plain.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def recordings() -> dict[str, object]:
    pd = pytest.importorskip("pandas")
    audio = AUDIO.numpy()
    pcm = np.round(audio * 32768).astype(np.int16)
    return {
        "float64": audio.astype(np.float64),
        "list": audio.tolist(),
        "series": pd.Series(audio),
        "big endian": audio.astype(">f4"),
        "backwards": audio[::-1][::-1],
        "read only": np.frombuffer(audio.tobytes(), np.float32),
        "with gradient": AUDIO.clone().requires_grad_(),
        "int16": pcm,
        "int16 tensor": torch.from_numpy(pcm),
    }


@pytest.mark.parametrize("kind", recordings())
def test_recordings_of_any_kind(kind: str, vocoder: Vocoder) -> None:
    given = recordings()[kind]
    expected = AUDIO if "int16" not in kind else (AUDIO * 32768).round() / 32768
    assert torch.equal(vocoder.mel(given).detach(), vocoder.mel(expected))
    assert torch.equal(vocoder.score(given), vocoder.score(AUDIO))
    assert torch.equal(vocoder.mel_stream().push(given), vocoder.mel_stream().push(expected))
    denoiser = vocoder.denoiser()
    assert torch.equal(denoiser(given, 0.1), denoiser(expected, 0.1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((22050, 2)), r"\(22050, 2\).* averaged over the channels, or transposed"),
        (np.zeros(4000, np.int32), "int32: expected floating-point numbers in -1..1, or 16-bit integers"),
        ([[0.0, 1.0], [0.0]], "a list is no array of numbers"),
        ("recording.wav", "expected floating-point"),
        (None, "an array of object"),
        (np.full(4000, np.nan, np.float32), "NaN or infinite"),
        (np.full(4000, 12000.0), "samples reach 1.2e[+]04, expected -1 to 1"),
        (np.zeros((1, 1, 4000)), "3 axes, expected 1 or 2"),
        (torch.zeros(4000, dtype=torch.complex64), "complex64"),
        (np.float32(0.5), "0 axes"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(given: object, message: str, vocoder: Vocoder) -> None:
    denoise = functools.partial(vocoder.denoiser(), strength=0.1)
    analysis = vocoder.mel, vocoder.encode, vocoder.log_prob, vocoder.score, vocoder.mel_stream().push
    for method in (*analysis, vocoder.resynthesize, denoise):
        with pytest.raises(AudioError, match=message):
            method(given)


def test_mels_of_any_kind(vocoder: Vocoder, mel: Tensor) -> None:
    pd = pytest.importorskip("pandas")
    expected = vocoder(mel, seed=0)
    for given in (
        mel[0].numpy(),
        mel.double(),
        mel[0].tolist(),
        pd.DataFrame(mel[0].numpy()),
        mel.clone().requires_grad_(),
    ):
        audio = vocoder(given, seed=0)
        assert torch.equal(audio, expected) and not audio.requires_grad
    for refused, message in ((mel.long(), "int64"), (mel.to(torch.int16), "int16"), ("mel.npy", "floating-point")):
        with pytest.raises(MelError, match=message):
            vocoder(refused)


def test_seeds_and_numbers_of_any_kind(vocoder: Vocoder, mel: Tensor) -> None:
    expected = vocoder(mel, 0.5, seed=3, gl_iters=2, lengths=[20])
    for three in (np.int64(3), torch.tensor(3), [3], np.array([3]), torch.tensor([3]), (np.int8(3),)):
        two, half = np.int32(2), np.float32(0.5)
        assert torch.equal(vocoder(mel, half, seed=three, gl_iters=two, lengths=np.array([20])), expected)
    assert torch.equal(vocoder(mel, seed=-1), vocoder(mel, seed=[-1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"seed": "1"}, "seed must be a whole number, not '1'"),
        ({"seed": True}, "seed must be a whole number, not True"),
        ({"seed": [1.0]}, "seed must be a whole number, not 1.0"),
        ({"seed": [1, 2]}, "2 seeds for 1 items"),
        ({"gl_iters": 1.5}, "postfilter.gl_iters must be a whole number, not 1.5"),
        ({"low_band_iters": "8"}, "postfilter.low_band_iters must be a whole number, not '8'"),
        ({"gl_iters": 65}, "postfilter.gl_iters must be from 0 to 64, not 65"),
        ({"lengths": [4.5]}, "lengths must be a whole number, not 4.5"),
        ({"temperature": "warm"}, "temperature must be a number, not 'warm'"),
    ],
)
def test_other_kinds_of_numbers_are_refused_in_a_sentence(
    options: dict[str, object], message: str, vocoder: Vocoder, mel: Tensor
) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        vocoder.synthesize(mel, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "cuda:99", "xpu", ""])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(device: str, small_voice: Path) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=f"device {device} is not usable here: there is cpu") as refused:
        Vocoder.from_pretrained(small_voice, device)
    assert len(str(refused.value)) < 200


def test_a_mel_of_another_kind_is_refused(vocoder: Vocoder, mel: Tensor) -> None:
    """One scaled to 0..1 gave samples up to 16."""
    scaled = (mel - mel.min()) / (mel.max() - mel.min())
    pieces: Callable[[Tensor], Tensor] = lambda mel: next(vocoder.synthesize_pieces(mel))  # noqa: E731
    for refused in (vocoder.synthesize, vocoder, pieces, vocoder.stream().push):
        with pytest.raises(ImplausibleMelError, match=r"scaled to 0\.\.1.*trust_mel=True takes it anyway"):
            refused(scaled)
    batch = torch.cat([mel, scaled])
    with pytest.raises(ImplausibleMelError):
        vocoder.synthesize(batch)
    padded = torch.cat([mel, torch.full_like(mel, 9.0)], 2)
    assert vocoder.synthesize(padded, lengths=[24]).shape == (1, 48 * 256)


def test_what_is_trusted_is_limited_and_said(vocoder: Vocoder, mel: Tensor) -> None:
    loud = mel + 9.0
    with pytest.warns(ClippedWarning, match=r"\d+% of the samples are above full scale"):
        audio = vocoder.synthesize(loud, seed=0, trust_mel=True)
    assert audio.abs().max() == HIGHEST
    with pytest.warns(ClippedWarning):
        stream = vocoder.stream(seed=0, trust_mel=True)
        streamed = torch.cat([stream.push(loud), stream.flush()])
    assert streamed.abs().max() == HIGHEST
    with pytest.warns(ClippedWarning):
        assert vocoder.synthesize(mel, temperature=1000.0, gl_iters=0).abs().max() == HIGHEST
