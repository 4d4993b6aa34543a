"""Signals and corpora that tests make for themselves."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile as sf
import torch

import flowvocoder
from flowvocoder.data.corpus import find_utterances
from flowvocoder.data.manifest import Entry, write_manifest
from flowvocoder.data.splits import choose_split
from flowvocoder.files import sha256_of
from flowvocoder.vocoder import Vocoder

DOCS_SCRIPTS = Path(__file__).parents[1] / "docs" / "scripts"


def docs_script(name: str) -> ModuleType:
    """A script of the docs as a module; it may import its neighbours."""
    spec = importlib.util.spec_from_file_location(f"docs_script_{name}", DOCS_SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS_SCRIPTS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS_SCRIPTS))
    return module


def speech_like(seconds: float, sample_rate: int, seed: int = 0) -> np.ndarray:
    """Voiced stretches (a gliding, formant-shaped pulse train), noise bursts and pauses; float32, peak 0.3."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * sample_rate)
    time = np.arange(samples) / sample_rate
    pitch = 140 + 30 * np.sin(2 * np.pi * 1.3 * time + seed)
    phase = np.cumsum(pitch) / sample_rate
    voiced = np.zeros(samples)
    for harmonic in range(1, 30):
        hz = harmonic * pitch
        level = 1 / (1 + ((hz - 600) / 300) ** 2) + 0.4 / (1 + ((hz - 1800) / 400) ** 2) + 0.01
        voiced += np.where(hz < 0.45 * sample_rate, level * np.cos(2 * np.pi * harmonic * phase + harmonic**2), 0)
    gate = 0.5 + 0.5 * np.tanh(8 * np.sin(2 * np.pi * 1.7 * time + 0.5 * seed))
    hiss = rng.standard_normal(samples) * (0.5 + 0.5 * np.tanh(8 * np.sin(2 * np.pi * 2.3 * time)))
    mixed = gate * voiced + 0.05 * hiss + 1e-3 * rng.standard_normal(samples)
    return (0.3 * mixed / np.abs(mixed).max()).astype(np.float32)


def make_corpus(root: Path, utterances: int = 6, seconds: float = 1.5, sample_rate: int = 22050) -> Path:
    """A corpus in LJSpeech layout."""
    (root / "wavs").mkdir(parents=True)
    lines = []
    for index in range(utterances):
        name = f"utt{index:03d}"
        sf.write(root / "wavs" / f"{name}.flac", speech_like(seconds, sample_rate, index), sample_rate)
        lines.append(f"{name}|text|text\n")
    (root / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return root


def entries_of(root: Path, **changes: object) -> Iterator[Entry]:
    """Manifest lines for a folder that `find_utterances` knows, for a manifest in `root`."""
    for utterance in find_utterances(root):
        info = sf.info(utterance.path)
        values = {
            "id": utterance.id, "path": utterance.path.relative_to(root).as_posix(), "duration": info.frames,
            "rate": info.samplerate, "speaker": "a", "language": "en", "sha256": sha256_of(utterance.path),
            "split": choose_split(utterance.id, "a"), **changes,
        }  # fmt: skip
        yield Entry(**values)


def make_manifest(root: Path, **changes: object) -> Path:
    """`root/manifest.jsonl` of its recordings."""
    path = root / "manifest.jsonl"
    write_manifest(path, list(entries_of(root, **changes)))
    return path


EXAMPLES = Path(flowvocoder.__file__).parent / "examples"


def example(seconds: float = 2.5) -> np.ndarray:
    """The start of a bundled recording, float64."""
    return sf.read(EXAMPLES / "kathleen.flac", frames=int(seconds * 22050))[0]


def heard(vocoder: Vocoder, audio: torch.Tensor, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every public method gives; frames (1, n_mels, F) are of the audio."""
    stream, incoming = vocoder.stream(seed=0), vocoder.mel_stream()
    latent, mel = vocoder.encode(audio)
    clean = vocoder.synthesize(frames, seed=0)
    return {
        "mel": vocoder.mel(audio),
        "mel_for": vocoder.mel_for(audio),
        "mel_stream": torch.cat([incoming.push(audio), incoming.flush()], 1),
        "synthesize": clean,
        "synthesize_pieces": torch.cat(list(vocoder.synthesize_pieces(frames, seed=0))),
        "stream": torch.cat([*(stream.push(piece) for piece in frames[0].split(9, 1)), stream.flush()]),
        "resynthesize": vocoder.resynthesize(audio, seed=0),
        "latent": latent,
        "mel of encode": mel,
        "decode": vocoder.decode(latent, mel),
        "log_prob": vocoder.log_prob(audio),
        "score": vocoder.score(audio),
        "score_by_frame": vocoder.score_by_frame(audio),
        "draw_noise": vocoder.draw_noise(frames, seed=0),
        "denoiser": vocoder.denoiser()(clean, 0.1),
    }
