"""Valid files of every kind, small, from which damaged ones are made."""

import functools
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

import flowvocoder.cli.main
from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, save_checkpoint
from flowvocoder.config import Experiment, override
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.spec import convention
from flowvocoder.presets import preset
from flowvocoder.voice_card import VoiceCard

DATA = Path(__file__).parents[1] / "data"
PARITY, FORMAT1 = DATA / "parity", DATA / "format1"

SMALL = ["channels=4", "encoder_channels=4", "scale_channels=4", "pitch_channels=4", "model.flows=1", "model.layers=1"]
SQUEEZEWAVE = ["group=32", "early_size=4", "model.flows=2", "model.channels=4", "model.layers=1"]
TRAIN = [word for s in ("batch=2", "segment=4096", "steps=1", *SMALL) for word in ("--set", s)]

FORMATS = [
    ("a.wav", "WAV", "PCM_16", 1), ("stereo.wav", "WAV", "FLOAT", 2), ("b.wav", "WAV", "PCM_U8", 1),
    ("c.wav", "WAV", "GSM610", 1), ("d.wav", "WAV", "IMA_ADPCM", 1), ("e.wav", "WAVEX", "PCM_24", 2),
    ("f.flac", "FLAC", "PCM_16", 1), ("g.flac", "FLAC", "PCM_24", 2), ("h.ogg", "OGG", "VORBIS", 1),
    ("i.opus", "OGG", "OPUS", 1), ("j.mp3", "MP3", "MPEG_LAYER_III", 1), ("k.aiff", "AIFF", "PCM_16", 1),
    ("l.wav", "W64", "DOUBLE", 1), ("m.wav", "RF64", "PCM_16", 1), ("n.aif", "CAF", "ALAC_16", 1),
    ("o.wav", "AU", "ULAW", 1), ("p.wav", "SVX", "PCM_16", 1),
]  # fmt: skip


def sound(samples: int, seed: int = 0) -> np.ndarray:
    """Coloured noise at the level of speech, float32."""
    noise = np.random.default_rng(seed).standard_normal(samples + 64)
    return (0.05 * np.convolve(noise, np.hanning(65), "valid")[:samples]).astype(np.float32)


@functools.cache
def recordings() -> dict[str, bytes]:
    """Files by name, a fifth of a second each."""
    found = {}
    for name, container, subtype, channels in FORMATS:
        rate = 48000 if subtype == "OPUS" else 22050
        path = _folder() / name
        sf.write(path, np.tile(sound(rate // 5)[:, None], channels), rate, subtype=subtype, format=container)
        found[name] = path.read_bytes()
    return found


@functools.cache
def voice() -> dict[str, bytes]:
    """The files of a checkpoint: a LapGlow with a guide and a refiner, untrained."""
    networks = ["guide_channels=4", "guide_layers=1", "refiner_channels=4", "refiner_layers=1"]
    return _contents(_saved("lapglow", override(preset("lapglow-tiny"), [*SMALL, *networks])))


@functools.cache
def quick_voice() -> Path:
    """A SqueezeWave, which loads in no time."""
    return _saved("voice", override(preset("squeezewave-128-128"), SQUEEZEWAVE))


@functools.cache
def old_voices() -> list[dict[str, bytes]]:
    """Checkpoints of format 1."""
    return [_contents(path.parent) for path in sorted(FORMAT1.glob("*/model.safetensors"))]


def _saved(name: str, experiment: Experiment) -> Path:
    torch.manual_seed(0)
    card = VoiceCard(temperature=0.02)  # so that little is clipped
    built = Checkpoint(build_model(experiment), experiment, card, build_postfilter(experiment))
    save_checkpoint(_folder() / name, built)
    return _folder() / name


@functools.cache
def mel() -> np.ndarray:
    """(80, 20), of Tacotron 2's convention."""
    from flowvocoder.mel.frontend import MelFrontEnd

    values: np.ndarray = MelFrontEnd(convention("tacotron2"))(torch.from_numpy(sound(19 * 256))).numpy()
    return values


@functools.cache
def mels() -> dict[str, bytes]:
    """Mel files by name, and the spec of the first."""
    folder = _folder() / "mels"
    write_mel(folder / "a.npy", mel(), convention("tacotron2"))
    np.save(folder / "double.npy", mel().astype(np.float64))
    np.save(folder / "batch.npy", np.asfortranarray(mel()[None].astype(np.float16)))
    np.savez(folder / "b.npz", mel=mel())
    np.savez_compressed(folder / "c.npz", x=mel())
    torch.save(torch.from_numpy(mel()), folder / "d.pt")
    torch.save({"mel": torch.from_numpy(mel()).double()}, folder / "e.pt")
    return _contents(folder)


@functools.cache
def latent() -> bytes:
    """What `encode` writes."""
    made = _folder() / "z.npz"
    wav = _folder() / "z.wav"
    wav.write_bytes(recordings()["a.wav"])
    command("encode", wav, made, "--checkpoint", quick_voice())
    return made.read_bytes()


@functools.cache
def corpus() -> Path:
    """Four recordings with a manifest."""
    from tests.helpers import make_corpus, make_manifest

    root = make_corpus(_folder() / "toy", utterances=4, seconds=0.4)
    make_manifest(root)
    return root


@functools.cache
def shards() -> dict[str, bytes]:
    """What `prepare` makes of it."""
    out = _folder() / "shards"
    command("prepare", corpus() / "manifest.jsonl", out, "--mel", "tacotron2", "--jobs", "1", "--shard-size", "2")
    return _contents(out)


@functools.cache
def run_folder() -> dict[str, bytes]:
    """A training run of one step."""
    out = _folder() / "run"
    command("train", "--corpus", corpus(), "--out", out, "--preset", "lapglow-tiny", *TRAIN)
    return _contents(out)


@functools.cache
def published() -> dict[str, bytes]:
    """Checkpoints as their makers published them, by name."""
    return {path.name: path.read_bytes() for path in sorted(PARITY.glob("*.pt"))}


@functools.cache
def archives() -> dict[str, bytes]:
    """A corpus in LJSpeech layout as archives, by name."""
    source = corpus()
    files = [p for p in sorted(source.rglob("*")) if p.is_file()]
    with zipfile.ZipFile(_folder() / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(source.parent))
    for mode in ("", "gz", "bz2", "xz"):
        with tarfile.open(_folder() / f"a.tar{'.' * bool(mode)}{mode}", f"w:{mode}") as tar:
            tar.add(source, "toy")
    return {path.name: path.read_bytes() for path in _folder().glob("a.*") if path.suffix != ".wav"}


def command(*arguments: object) -> None:
    """Run what makes a seed."""
    assert flowvocoder.cli.main.main([str(a) for a in arguments]) == 0, arguments


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, which is returned."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


_made: list[Path] = []


def begin(folder: Path) -> None:
    """Say where seeds are made."""
    folder.mkdir(parents=True, exist_ok=True)
    _made[:] = [folder]


def _folder() -> Path:
    return _made[0]


ALL: list[Callable[[], object]] = [
    recordings, voice, quick_voice, old_voices, mels, latent, corpus, shards, run_folder, published, archives,
]  # fmt: skip
