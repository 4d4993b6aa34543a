"""Who speaks, how often each is heard, and whom training never hears."""

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import train
from helpers import entries_of, speech_like

from flowvocoder.cli.main import main
from flowvocoder.config import DataSettings
from flowvocoder.data.balance import weights
from flowvocoder.data.corpus import find_utterances, open_corpus
from flowvocoder.data.manifest import write_manifest
from flowvocoder.data.segments import SegmentSampler
from flowvocoder.data.speakers import read_speakers
from flowvocoder.data.streaming import ShardSampler
from flowvocoder.errors import DataError
from flowvocoder.mel.spec import CONVENTIONS

SPEC = CONVENTIONS["tacotron2"]
SEGMENT = 4096
EVEN = DataSettings(balance=0.0, repeat=1e6)


def speakers_of(root: Path, table: str, names: list[str]) -> list[str | None]:
    (root / "speakers.csv").write_text(table, encoding="utf-8")
    return read_speakers(root, names)


def make_speakers(root: Path, counts: dict[str, int], seconds: float = 0.4) -> Path:
    """A folder of recordings `NAME_NUMBER.flac`, and who its speakers are."""
    root.mkdir(parents=True)
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            sf.write(root / f"{name}_{number}.flac", speech_like(seconds, 22050, 100 * place + number), 22050)
    (root / "speakers.csv").write_text("speaker\n" + "".join(f"{n}\n" for n in counts), encoding="utf-8")
    return root


def test_a_table_of_speakers_or_of_recordings(tmp_path: Path) -> None:
    names = ["ann_1", "ann-b_1", "annabel_1", "bob/x", "other"]
    listed = "speaker|sex\nann|f\nann-b|f\nbob|m\n"
    assert speakers_of(tmp_path, listed, names) == ["ann", "ann-b", None, "bob", None]
    each = "ID,Speaker\nann_1,Ann\nbob/x,\nother,Bob\n"
    assert speakers_of(tmp_path, each, names) == ["Ann", None, None, None, "Bob"]
    for table, message in (
        ("name|sex\nann|f\n", "has no column speaker, only name, sex"),
        ("", "has no column speaker"),
        ("speaker\neve\n", "names no speaker of the 5 recordings, such as ann_1"),
    ):
        with pytest.raises(DataError, match=message):
            speakers_of(tmp_path, table, names)
    (tmp_path / "speakers.csv").write_bytes(b"speaker\n\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_speakers(tmp_path, names)


def test_shares_are_a_power_of_the_length_up_to_a_limit() -> None:
    voices, places = ["long"] * 3 + ["mid", "short"], np.array([3000, 3000, 3000, 900, 100])

    def shares(balance: float, repeat: float = 1e6) -> list[float]:
        odds = places * weights(voices, places, DataSettings(balance, repeat)) / places.sum()
        assert odds.sum() == pytest.approx(1.0) and odds[0] == odds[1]
        return [odds[:3].sum(), odds[3], odds[4]]

    assert shares(1.0) == pytest.approx([0.9, 0.09, 0.01])
    assert shares(0.0) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    roots = np.sqrt([90, 9, 1])
    assert shares(0.5) == pytest.approx(roots / roots.sum())
    assert shares(0.0, repeat=5.0) == pytest.approx([0.5, 0.45, 0.05])
    assert shares(0.0, repeat=1.0) == pytest.approx([0.9, 0.09, 0.01])


@pytest.mark.slow
def test_speakers_are_drawn_alike_from_folders_and_shards(tmp_path: Path) -> None:
    root = make_speakers(tmp_path / "two", {"much": 18, "little": 2})
    folder = open_corpus(root)
    assert {u.voice for u in folder.training} == {"two/much", "two/little"} and not folder.unseen
    by_speaker = {u.id: u.speaker for u in folder.training}
    entries = [dataclasses.replace(e, speaker=by_speaker[e.id], split="train")
               for e in entries_of(root) if e.id in by_speaker]  # fmt: skip
    write_manifest(root / "manifest.jsonl", entries)
    out = tmp_path / "shards"
    assert main(["prepare", str(root), str(out), "--jobs", "1", "--shard-size", "4"]) == 0
    shards = open_corpus(out).shards
    samplers = [
        SegmentSampler(folder.training, SPEC, SEGMENT, data=EVEN),
        ShardSampler(shards, SPEC, SEGMENT, data=EVEN),
    ]
    for sampler in samplers:
        assert sampler.voices == 2
        ids = [i for step in range(60) for i in sampler.batch(step, 4).ids]
        drawn = collections.Counter(i.split("/")[1].split("_")[0] for i in ids)
        assert 90 <= drawn["little"] <= 150, drawn
        assert len(set(ids)) >= len(by_speaker) - 1  # shards hold out one
    again = ShardSampler(shards, SPEC, SEGMENT, data=EVEN).batch(59, 4)
    assert again.ids == tuple(ids[-4:])


def test_shards_of_an_earlier_version_are_one_speaker(tmp_path: Path) -> None:
    root = make_speakers(tmp_path / "two", {"a": 3, "b": 3})
    write_manifest(root / "manifest.jsonl", entries_of(root, split="train"))
    assert main(["prepare", str(root), str(tmp_path / "out"), "--jobs", "1"]) == 0
    about = tmp_path / "out" / "train-00000.json"
    told = json.loads(about.read_text())
    assert set(told.pop("speakers")) == {"a"}
    about.write_text(json.dumps(told))
    assert set(open_corpus(tmp_path / "out").shards[0].voices) == {"out"}
    about.write_text(json.dumps({**told, "speakers": ["a"]}))
    with pytest.raises(DataError, match=r"train-00000\.json: tells of 5 utterances and 1 speakers"):
        open_corpus(tmp_path / "out")


@pytest.mark.slow
def test_whole_speakers_are_held_out_and_reported(tmp_path: Path) -> None:
    names = [f"speaker{n}" for n in range(10)]
    root = make_speakers(tmp_path / "ten", dict.fromkeys(names, 4))
    corpus = open_corpus(root)
    speakers = [{u.speaker for u in part} for part in (corpus.training, corpus.unseen)]
    assert len(speakers[1]) == 1 and speakers[0] | speakers[1] == set(names) and not speakers[0] & speakers[1]
    assert len(corpus.unseen) == 4 and corpus.held_out
    (root / "speakers.csv").unlink()
    assert not open_corpus(root).unseen
    (root / "speakers.csv").write_text("speaker\n" + "\n".join(names[:9]))
    assert not open_corpus(root).unseen
    (root / "speakers.csv").write_text("speaker\n" + "\n".join(names))
    assert train(root, tmp_path / "run", "--set", "steps=2", "--set", "balance=0.5") == 0
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (values,) = [entry["validation"] for entry in log if "validation" in entry]
    assert {"nats", "bits", "nats.ten", "unseen", "unseen.ten"} == set(values)
    assert values["unseen"] == values["unseen.ten"] != values["nats"]
    saved = json.loads((tmp_path / "run/checkpoint/config.json").read_text())
    assert saved["train"]["data"]["balance"] == 0.5


def test_speakers_of_two_corpora_are_different_ones(tmp_path: Path) -> None:
    for name in "ab":
        make_speakers(tmp_path / name, {"1": 1})
    voices = {u.voice for name in "ab" for u in find_utterances(tmp_path / name)}
    assert voices == {"a/1", "b/1"}
