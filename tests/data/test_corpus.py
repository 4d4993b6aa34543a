"""Training reads folders, manifests and shards alike."""

import collections
import dataclasses
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from helpers import entries_of, make_corpus, make_manifest
from safetensors.torch import load_file

from flowvocoder.cli.main import main
from flowvocoder.config import override
from flowvocoder.data.corpus import corpus_name, find_utterances, open_corpora, open_corpus, split
from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.data.segments import Cutter, SegmentSampler
from flowvocoder.data.shards import Shard, read_members
from flowvocoder.data.streaming import ShardSampler, open_sampler
from flowvocoder.errors import AudioError, ConfigError, DataError, MelError
from flowvocoder.files import sha256_of
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS
from flowvocoder.presets import preset
from flowvocoder.training.trainer import Trainer

SPEC = CONVENTIONS["tacotron2"]
SEGMENT = 4096


@pytest.fixture(scope="module")
def manifest(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus as a manifest somewhere else."""
    path = tmp_path_factory.mktemp("manifests") / "toy.jsonl"
    write_manifest(path, [dataclasses.replace(e, path=str(corpus / e.path)) for e in entries_of(corpus)])
    return path


@pytest.fixture(scope="module")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """And as shards of five utterances."""
    out = tmp_path_factory.mktemp("shards") / "toy"
    assert main(["prepare", str(manifest), str(out), "--jobs", "1", "--shard-size", "5"]) == 0
    return out


def test_a_manifest_and_its_folder_are_the_same_corpus(corpus: Path, manifest: Path) -> None:
    ours, theirs = open_corpus(manifest), open_corpus(corpus)
    for part in ("training", "held_out"):
        assert [u.id for u in getattr(ours, part)] == [u.id for u in getattr(theirs, part)]
    assert len(ours.held_out) >= 1
    a, b = (SegmentSampler(c.training, SPEC, SEGMENT).batch(3, 4) for c in (ours, theirs))
    assert torch.equal(a.audio, b.audio) and torch.equal(a.mel, b.mel) and a.ids == b.ids


def test_one_utterance_in_two_files_is_refused(corpus: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(corpus, twice)
    (twice / "metadata.csv").unlink()
    first = sorted(twice.rglob("*.flac"))[1]
    shutil.copy(first, first.with_suffix(".wav"))
    with pytest.raises(
        DataError, match=rf"{first.stem}\.(flac|wav) and {first.stem}\.(flac|wav) are one utterance twice"
    ):
        find_utterances(twice)


def test_the_split_column_decides(corpus: Path, tmp_path: Path) -> None:
    names = ["train", "validation", "test", "unseen"]
    entries = [dataclasses.replace(e, path=str(corpus / e.path), split=names[i % 4])
               for i, e in enumerate(entries_of(corpus))]  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", entries)
    found = open_corpus(tmp_path / "m.jsonl")
    assert [u.id for u in found.training] == [e.id for e in entries if e.split == "train"]
    assert [u.id for u in found.held_out] == [e.id for e in entries if e.split == "validation"]
    only = [dataclasses.replace(e, split="train") for e in entries]
    write_manifest(tmp_path / "m.jsonl", only)
    training, held_out, unseen = split(find_utterances(tmp_path / "m.jsonl"))
    assert not unseen and len(held_out) == 1 and len(training) == len(entries) - 1


def test_stretches_are_read_and_checked(corpus: Path, tmp_path: Path) -> None:
    first = next(iter(entries_of(corpus)))
    base = dataclasses.replace(first, path=str(corpus / first.path))
    parts = [dataclasses.replace(base, id=f"p/{i}", start=5000 * i, duration=5000) for i in range(3)]
    write_manifest(tmp_path / "m.jsonl", parts)
    whole = find_utterances(corpus)[0].read(22050)
    read = [u.read(22050) for u in find_utterances(tmp_path / "m.jsonl")]
    assert all(np.array_equal(r, whole[5000 * i : 5000 * i + 5000]) for i, r in enumerate(read))
    for wrong, message in (({"start": 15_000}, "holds 17640 samples, 15000 to 20000 are requested"),
                           ({"rate": 16000}, "has 22050 Hz, the manifest says 16000")):  # fmt: skip
        write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(parts[0], **wrong)])
        with pytest.raises(AudioError, match=message):
            SegmentSampler(find_utterances(tmp_path / "m.jsonl"), SPEC, SEGMENT)


def with_mels(corpus: Path, folder: Path, frames: int | None = None) -> Path:
    """A manifest of two recordings whose mels are noise; `frames` cuts the second."""
    entries = []
    for index, entry in enumerate(list(entries_of(corpus))[:2]):
        need = entry.duration // SPEC.hop_length + 1
        values = np.random.default_rng(index).uniform(-11, 0, (80, need)).astype(np.float32)
        write_mel(folder / f"{index}.npy", values[:, :frames] if index else values, SPEC)
        entries.append(dataclasses.replace(entry, path=str(corpus / entry.path), mel=f"{index}.npy", split="train"))
    write_manifest(folder / "tts.jsonl", entries)
    return folder / "tts.jsonl"


def test_given_mels_are_trained_on(corpus: Path, tmp_path: Path) -> None:
    path = with_mels(corpus, tmp_path)
    mels = {e.id: np.load(tmp_path / str(e.mel)) for e in read_manifest(path)}
    out = tmp_path / "shards"
    assert main(["prepare", str(path), str(out), "--jobs", "1"]) == 0
    audios = {u.id: u.read(22050) for u in find_utterances(path)}
    samplers = [
        SegmentSampler(find_utterances(path), SPEC, SEGMENT),
        ShardSampler(open_corpus(out).shards, SPEC, SEGMENT),
    ]
    for sampler in samplers:
        batch = sampler.batch(0, 6)
        for audio, mel, name in zip(batch.audio, batch.mel, batch.ids, strict=True):
            starts = [f for f in range(54) if np.array_equal(mels[name][:, f : f + 16], mel.numpy())]
            assert len(starts) == 1
            assert np.array_equal(audio.numpy(), audios[name][starts[0] * 256 :][:SEGMENT])


def test_a_mel_of_another_length_or_convention_is_refused(corpus: Path, tmp_path: Path) -> None:
    path = with_mels(corpus, tmp_path, frames=60)
    with pytest.raises(MelError, match=r"1\.npy: has 60 frames, its audio of 17640 samples has 68 \(hop 256\)"):
        SegmentSampler(find_utterances(path), SPEC, SEGMENT)
    path = with_mels(corpus, tmp_path)
    with pytest.raises(MelError, match=r"0\.npy: is a tacotron2 mel, the checkpoint wants hifigan"):
        SegmentSampler(find_utterances(path), CONVENTIONS["hifigan"], SEGMENT)
    assert main(["prepare", str(path), str(tmp_path / "out"), "--jobs", "1"]) == 0
    with pytest.raises(MelError, match="its mels are of another convention: padding center, not same"):
        ShardSampler(open_corpus(tmp_path / "out").shards, CONVENTIONS["hifigan"], SEGMENT).batch(0, 2)


def test_computed_mels_in_shards_are_the_audios(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy"
    assert main(["prepare", str(manifest), str(out), "--jobs", "1", "--mel", "tacotron2"]) == 0
    shards = open_corpus(out).shards
    stored, other = (ShardSampler(shards, CONVENTIONS[n], SEGMENT).batch(1, 4) for n in ("tacotron2", "hifigan"))
    assert stored.ids == other.ids
    without = Cutter(SPEC, SEGMENT)
    clips = [without.clip(dataclasses.replace(u, mel=None)) for u in find_utterances(manifest) if u.id in stored.ids]
    for audio, mel, name in zip(stored.audio, stored.mel, stored.ids, strict=True):
        (clip,) = [c for c in clips if c is not None and c.id == name]
        expected = MelFrontEnd(SPEC)(torch.from_numpy(clip.audio[512:-512]))
        (at,) = [f for f in range(53) if torch.equal(torch.from_numpy(clip.audio[512 + 256 * f :][:SEGMENT]), audio)]
        assert torch.allclose(mel, expected[:, at : at + 16], atol=1e-5)


@pytest.mark.slow
def test_a_shard_that_was_altered_is_not_trained_on(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "altered")
    tar = tmp_path / "altered" / "train-00000.tar"
    content = bytearray(tar.read_bytes())
    content[-3000] ^= 1
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000\.tar: was altered: its SHA-256 is not the one"):
        ShardSampler(open_corpus(tmp_path / "altered").shards[:1], SPEC, SEGMENT).batch(0, 2)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.FIFOTYPE])
def test_a_shard_holds_plain_files_alone(kind: bytes, tmp_path: Path) -> None:
    """A link to itself never ends, and a sparse file of no bytes claims any size."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("0.json")
        info.type, info.linkname = kind, "0.json"
        tar.addfile(info)
    shard = Shard(path, "train", np.array([1]), sha256_of(path))
    with pytest.raises(DataError, match=r"'0\.json' is no file of bytes"):
        list(read_members(shard))


@pytest.mark.parametrize("lengths", [[float("inf")], [1.5], ["9"], [-5], [10**400], {}, 3])
def test_lengths_of_shards_are_whole_numbers(lengths: object, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "altered")
    about = tmp_path / "altered" / "train-00000.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "lengths": lengths}))
    with pytest.raises(DataError, match=r"damaged|tells of"):
        open_corpus(tmp_path / "altered")


def test_batches_of_shards_depend_on_seed_and_step_only(shards: Path) -> None:
    found = open_corpus(shards).shards
    a, b, c = (ShardSampler(found, SPEC, SEGMENT, seed, buffer=2) for seed in (1, 1, 2))
    steps = range(3 * a.draws // 4 + 5)
    drawn = [a.batch(s, 4) for s in steps]
    for step in (0, 7, a.draws // 4, len(drawn) - 1):  # within a pass, across its end, later ones
        again = b.batch(step, 4)
        assert again.ids == drawn[step].ids
        assert torch.equal(again.audio, drawn[step].audio) and torch.equal(again.mel, drawn[step].mel)
    assert not torch.equal(c.batch(3, 4).audio, drawn[3].audio)


@pytest.mark.slow
def test_a_pass_draws_from_every_utterance_in_proportion_to_its_length(shards: Path, manifest: Path) -> None:
    found = open_corpus(shards)
    sampler = ShardSampler(found.shards, SPEC, SEGMENT, buffer=3)
    training = {u.id: u.duration // SEGMENT for u in open_corpus(manifest).training}
    passes = [[i for s in range(p * sampler.draws, (p + 1) * sampler.draws) for i in sampler.batch(s, 1).ids]
              for p in (0, 1)]  # fmt: skip
    assert all(collections.Counter(p) == training for p in passes)
    assert passes[0] != passes[1]
    assert {u.id for u in found.held_out}.isdisjoint(training)
    assert [u.id for u in found.held_out] == [u.id for u in open_corpus(manifest).held_out]
    assert sampler.samples == sum(u.duration for u in open_corpus(manifest).training)


@pytest.mark.slow
def test_threads_that_make_batches_ahead_get_the_same(shards: Path) -> None:
    found = open_corpus(shards).shards
    alone, shared = (ShardSampler(found, SPEC, SEGMENT, buffer=1) for _ in range(2))
    steps = range(alone.draws // 2)
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda step: shared.batch(step, 4, slice(2, 4)), steps))
    for step, batch in zip(steps, batches, strict=True):
        whole = alone.batch(step, 4)
        assert torch.equal(batch.audio, whole.audio[2:]) and batch.ids == whole.ids[2:]


@pytest.mark.slow
def test_only_the_buffer_is_held_in_memory(shards: Path) -> None:
    sampler = ShardSampler(open_corpus(shards).shards, SPEC, SEGMENT, buffer=2)
    assert len(sampler.shards) >= 8
    for step in range(sampler.draws):
        sampler.batch(step, 2)
        # This buffer, the one before, and the next where a batch crosses over.
        assert len(sampler._open) <= 6 and len(sampler._orders) <= 3 and len(sampler._clips) <= 30


def test_short_utterances_in_shards_are_left_out(tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "toy", 3, 0.6)
    long = make_corpus(tmp_path / "long", 1, 1.2)
    entries = [*entries_of(root), *(dataclasses.replace(e, path=str(long / e.path)) for e in entries_of(long))]
    write_manifest(
        root / "m.jsonl", [dataclasses.replace(e, split="train" if i else "validation") for i, e in enumerate(entries)]
    )
    assert main(["prepare", str(root / "m.jsonl"), str(tmp_path / "out"), "--jobs", "1"]) == 0
    sampler = ShardSampler(open_corpus(tmp_path / "out").shards, SPEC, 16384)
    assert len(sampler.skipped) == 2 and set(sampler.batch(0, 5).ids) == {"long/utt000"}
    with pytest.raises(AudioError, match="none of 3 recordings is as long"):
        ShardSampler(open_corpus(tmp_path / "out").shards, SPEC, 65536)


@pytest.mark.thorough
@pytest.mark.slow
def test_training_on_shards_resumes_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    settings = [*TINY, "--set", "save_every=3", "--set", "validate_every=6"]
    for name, steps in (("whole", [6]), ("parts", [3, 6])):
        for count in steps:
            assert main(["train", "--corpus", str(shards), "--out", str(tmp_path / name), *settings, "--resume",
                         "--set", f"steps={count}", "--set", "warmup=2", "--set", "final_lr=1.0"]) == 0  # fmt: skip
    whole, parts = (load_file(tmp_path / n / "state/state.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    about = json.loads((tmp_path / "whole/checkpoint/config.json").read_text())["card"]
    assert about["training_data"] == ["toy"] and about["metrics"]["nats.toy"] > 0


@pytest.mark.slow
def test_training_on_a_manifest_equals_training_on_its_folder(corpus: Path, manifest: Path, tmp_path: Path) -> None:
    for name, data in (("folder", corpus), ("manifest", manifest)):
        arguments = ["train", "--corpus", str(data), "--out", str(tmp_path / name), *TINY, "--set", "steps=3"]
        assert main(arguments) == 0
    folder, ours = (load_file(tmp_path / n / "checkpoint/model.safetensors") for n in ("folder", "manifest"))
    assert all(torch.equal(folder[k], ours[k]) for k in folder)


def test_names_of_corpora(tmp_path: Path) -> None:
    assert corpus_name(tmp_path / "voice" / "manifest.jsonl") == corpus_name(tmp_path / "voice") == "voice"
    assert corpus_name(tmp_path / "voice.jsonl") == "voice"
    with pytest.raises(ConfigError, match="two corpora are named 'voice'"):
        open_corpora([tmp_path / "voice" / "manifest.jsonl", tmp_path / "voice"])


def test_what_training_cannot_read_is_one_sentence(
    shards: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    begun, cut, lying = tmp_path / "begun", tmp_path / "cut", tmp_path / "lying"
    for folder in (begun, cut, lying):
        shutil.copytree(shards, folder)
    (begun / "index.json").unlink()
    tar = cut / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    about = json.loads((lying / "train-00000.json").read_text())
    about["lengths"].append(9000)
    (lying / "train-00000.json").write_text(json.dumps(about))
    other = make_corpus(tmp_path / "other", 2, 0.3)
    missing = Entry(id="a", path="ghost.flac", duration=9, rate=22050, speaker="a", language="en", sha256="0" * 64,
                    split="train")  # fmt: skip
    write_manifest(tmp_path / "ghost.jsonl", [missing])
    for data, message in (
        ([begun], "begun: is not finished: run `flowvocoder prepare` again"),
        ([cut], f"train-00000.tar: has {tar.stat().st_size} bytes, the index says {tar.stat().st_size + 512}"),
        ([lying], "train-00000.json: tells of 6 utterances, 97200 samples, the index of 5 and 88200"),
        ([shards, other], "toy is shards and other is not"),
        ([tmp_path / "ghost.jsonl"], "ghost.jsonl: line 1: no file ghost.flac"),
        ([tmp_path / "none.jsonl"], "none.jsonl: no such file"),
    ):
        arguments = [a for d in data for a in ("--corpus", str(d))]
        assert main(["train", *arguments, "--out", str(tmp_path / "run"), *TINY, "--set", "steps=30"]) == 2
        err = capsys.readouterr().err.splitlines()
        assert message in err[-1] and not [line for line in err if "Traceback" in line]


def test_only_regular_files_are_recordings(tmp_path: Path) -> None:
    layouts = make_corpus(tmp_path / "toy", 3, 0.3), tmp_path / "toy" / "wavs"
    expected = [[u.id for u in find_utterances(root)] for root in layouts]
    os.mkfifo(layouts[1] / "pipe.wav")
    (layouts[1] / "zero.flac").symlink_to("/dev/zero")
    (layouts[1] / "folder.wav").mkdir()
    assert [[u.id for u in find_utterances(root)] for root in layouts] == expected and len(expected[0]) == 3


def test_a_recording_in_a_manifest_is_a_regular_file(tmp_path: Path) -> None:
    manifest = make_manifest(make_corpus(tmp_path / "toy", 1, 0.3), path="pipe.wav")
    os.mkfifo(manifest.parent / "pipe.wav")
    with pytest.raises(DataError, match=r"line 1: no file pipe\.wav"):
        find_utterances(manifest)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=r"pipe\.jsonl: is a pipe or device"):
        find_utterances(tmp_path / "pipe.jsonl")


def test_shards_of_another_rate_are_refused(shards: Path) -> None:
    with pytest.raises(DataError, match="toy: is at 22050 Hz, the model wants 24000: prepare it with --rate 24000"):
        open_sampler([open_corpus(shards)], CONVENTIONS["vocos"], SEGMENT)


def test_a_trainer_takes_shards_from_python(shards: Path, tmp_path: Path) -> None:
    trainer = Trainer(override(preset("lapglow-tiny"), ["segment=4096"]), [shards], tmp_path / "run")
    assert isinstance(trainer.sampler, ShardSampler) and trainer.validation.items


def test_a_manifest_in_a_corpus_folder(tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "voice", 2, 0.3)
    path = make_manifest(root)
    assert [e.sha256 for e in read_manifest(path)] == [sha256_of(e.audio_file(root)) for e in read_manifest(path)]
    assert len(find_utterances(path)) == 2
