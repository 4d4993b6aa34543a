"""Packing: as much as fits, as much of one speaker as of another, and the same bytes again."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from helpers import make_corpus, make_manifest, speech_like

from flowvocoder.audio.resample import resample
from flowvocoder.cli.main import main
from flowvocoder.config import DataSettings
from flowvocoder.data.corpus import open_corpus, split
from flowvocoder.data.segments import Cutter
from flowvocoder.data.splits import hash_of
from flowvocoder.data.streaming import open_sampler
from flowvocoder.errors import ConfigError
from flowvocoder.files import sha256_of
from flowvocoder.mel.spec import MelSpec
from flowvocoder.prepare.codecs import Codec, encode_audio
from flowvocoder.prepare.convert import Settings

pytestmark = pytest.mark.slow

RATE = 22050
SIZE = 900_000
FAMOUS = 40
"""Utterances of the speaker who has the most."""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 utterances of one speaker, and one or two of eleven others."""
    root = make_corpus(tmp_path_factory.mktemp("pack") / "crowd", FAMOUS + 18, 0.8)
    speakers = ["famous"] * FAMOUS + [f"s{number % 11}" for number in range(18)]
    lines = [f"utt{number:03d},{speaker}" for number, speaker in enumerate(speakers)]
    (root / "speakers.csv").write_text("id,speaker\n" + "\n".join(lines) + "\n")
    (root / "LICENSE.txt").write_text("CC0")
    return root


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one speaker; one recording is broken, and one short."""
    root = make_corpus(tmp_path_factory.mktemp("pack") / "lone", 6, 0.8)
    sf.write(root / "wavs/utt005.flac", speech_like(0.2, RATE, 5), RATE)
    manifest = make_manifest(root, split="train")
    early = sorted((f"utt{number:03d}" for number in range(5)), key=lambda name: hash_of(f"0 lone/{name}"))[1]
    (root / f"wavs/{early}.flac").write_bytes(b"fLaC, but not much of it")
    return manifest


def pack(out: Path, *more: object) -> int:
    return main(["pack", *map(str, more), "--out", str(out), "--jobs", "1", "--shard-size", "8"])


def contents(out: Path) -> dict[str, str]:
    return {p.name: sha256_of(p) for p in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def packed(crowd: Path, lone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "small"
    assert pack(out, crowd, lone, "--size", SIZE) == 0
    return out


def test_it_fits_and_every_speaker_has_as_much(packed: Path, crowd: Path) -> None:
    assert 0.7 * SIZE < sum(p.stat().st_size for p in packed.iterdir()) <= SIZE
    heard: Counter[str] = Counter()
    for about in packed.glob("train-*.json"):
        heard.update(json.loads(about.read_text())["speakers"])
    theirs = Counter(f"crowd/{u.speaker}" for u in split(open_corpus(crowd).training)[0])
    for speaker, count in theirs.items():  # what the famous one has more of, all others have no more of
        assert heard[speaker] == count or heard[speaker] >= heard["crowd/famous"] - 1
    assert 2 < heard["crowd/famous"] < theirs["crowd/famous"]
    assert heard["lone/a"] == 3  # of six: one is held out, one broken, one too short
    corpus = open_corpus(packed)
    assert corpus.held_out and corpus.unseen and (packed / "crowd-LICENSE.txt").read_text() == "CC0"
    sampler = open_sampler([corpus], MelSpec(), 4096, data=DataSettings(balance=0.0))
    assert sampler.voices == len(heard) > 9


def test_again_and_after_a_loss_it_is_the_same(
    packed: Path, crowd: Path, lone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(packed)
    for lost in ("train-00001.tar", "index.json"):
        (packed / lost).unlink()
    assert pack(packed, crowd, lone, "--size", SIZE) == 0
    said = capsys.readouterr()
    assert "left out: lone/utt00" in said.err and "speakers: 0" in said.out
    assert contents(packed) == before
    chosen = packed.with_name("small.jsonl").read_bytes()
    for more, message in (
        ((crowd, lone, "--size", SIZE // 2), "holds another choice"),
        ((crowd, lone, "--size", SIZE, "--seed", 1), "holds another choice"),
        ((crowd, lone, "--size", SIZE, "--codec", "vorbis"), "holds another choice"),
    ):
        assert pack(packed, *more) == 2
        err = capsys.readouterr().err.splitlines()
        assert message in err[-1]
    assert contents(packed) == before and packed.with_name("small.jsonl").read_bytes() == chosen


def test_what_cannot_be_packed_is_refused(
    packed: Path, crowd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for more, message in (
        ((crowd, "--size", "70kB"), "not one of 54 utterances to train on fits 70000 bytes"),
        ((packed, "--size", "1MB"), "is shards already"),
        ((crowd, crowd, "--size", "1MB"), "two corpora are named 'crowd'"),
        ((tmp_path / "no", "--size", "1MB"), "no such folder"),
        ((crowd, "--size", "1MB", "--codec", "opus", "--rate", RATE), "--codec opus stores"),
    ):
        assert pack(out, *more) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
        assert not out.exists() and not out.with_name("out.jsonl").exists()
    for bad in ("40 parsecs", "0", "-1", "MB"):
        with pytest.raises(SystemExit):
            pack(out, crowd, f"--size={bad}")


@pytest.mark.parametrize(("codec", "rate"), [("opus", 24000), ("vorbis", RATE)])
def test_a_codec_with_loss_gives_the_same_bytes_and_nearly_the_same_audio(codec: Codec, rate: int) -> None:
    pcm = np.rint(32767 * speech_like(1.5, rate)).astype(np.int16)
    ogg = encode_audio(pcm, rate, codec)
    assert ogg == encode_audio(pcm, rate, codec) and len(ogg) < len(encode_audio(pcm, rate, "flac")) / 1.5
    back, heard_rate = sf.read(io.BytesIO(ogg), dtype="float64")
    assert heard_rate == rate and len(back) == len(pcm)
    wrong = np.square(back - pcm / 32768).mean() / np.square(pcm / 32768).mean()
    assert wrong < 0.02
    damaged = bytearray(ogg)
    damaged[-9] ^= 1
    with pytest.raises(sf.LibsndfileError):  # so the checksums are looked at, and ours are right
        sf.read(io.BytesIO(bytes(damaged[:27]) + bytes(damaged[28:])))


def test_a_codec_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="--codec must be one of flac, opus, vorbis, not mp3"):
        Settings(codec="mp3")  # type: ignore[arg-type]


def test_training_resamples_what_is_stored_at_a_higher_rate(crowd: Path, tmp_path: Path) -> None:
    out = tmp_path / "opus"
    assert pack(out, crowd, "--size", "200kB", "--codec", "opus") == 0
    assert json.loads((out / "index.json").read_text())["format"] == 2
    corpus = open_corpus(out)
    assert corpus.rate == 24000
    spec = MelSpec()
    batch = open_sampler([corpus], spec, 4096).batch(0, 4)
    assert batch.audio.shape == (4, 4096) and batch.audio.square().mean() > 1e-4
    utterance = corpus.held_out[0]
    clip = Cutter(spec, 4096).clip(utterance)
    assert clip is not None and isinstance(clip.audio, np.ndarray)
    stored = sf.read(io.BytesIO(utterance.content or b""), dtype="float32")[0]
    ours = clip.audio[len(clip.audio) - clip.samples >> 1 :][: clip.samples]
    assert np.array_equal(ours, resample(stored, 24000, RATE))
