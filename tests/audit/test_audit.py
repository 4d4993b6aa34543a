"""The audit: each planted fault is found where it was planted, a clean corpus is clean."""

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from deadly import pid_or_die
from helpers import make_corpus, make_manifest, speech_like

from flowvocoder import progress
from flowvocoder.audit.checks import clipped_samples
from flowvocoder.cli.main import main
from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.files import sha256_of
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.spec import CONVENTIONS
from flowvocoder.parallel import Crashed, ordered_map

RATE = 22050


def good(seed: int = 0, seconds: float = 1.2) -> np.ndarray:
    return speech_like(seconds, RATE, seed)


def band_limited(x: np.ndarray, rate: int = 16000) -> np.ndarray:
    return soxr.resample(soxr.resample(x, RATE, rate), rate, RATE)[: len(x)]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    root = make_corpus(tmp_path / "toy", utterances=6, seconds=1.2)
    return make_manifest(root)


def report(manifest: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    code = main(["audit", str(manifest), "--json", "--jobs", "1", *more])
    return code, json.loads(capsys.readouterr().out)


def test_a_clean_corpus_is_clean(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(clean, capsys)
    assert code == 0 and found["utterances"] == 6 and found["harmful_utterances"] == 0
    assert found["minutes"] == pytest.approx(6 * 1.2 / 60, abs=1e-3) and found["rate"] == RATE
    assert {kind: (c["harmful"], c["notes"]) for kind, c in found["checks"].items() if c["utterances"]} == {}


def test_progress_says_how_many_there_are(
    clean: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    main(["audit", str(clean), "--jobs", "1"])
    assert "audit: 6 of 6 in" in capsys.readouterr().err


def rewrite(change: Callable[[np.ndarray], np.ndarray], rate: int = RATE, subtype: str = "PCM_16") -> Callable:
    """A fault in the samples; the manifest line is made from the faulty file, as a recipe would."""

    def plant(entry: Entry, root: Path) -> Entry:
        path = root / "wavs" / "faulty.wav"
        sf.write(path, change(good(7)), rate, subtype=subtype)
        info = sf.info(path)
        return dataclasses.replace(
            entry, path="wavs/faulty.wav", duration=info.frames, rate=info.samplerate, sha256=sha256_of(path)
        )

    return plant


def missing(entry: Entry, root: Path) -> Entry:
    return dataclasses.replace(entry, path="wavs/ghost.wav")


def corrupt(entry: Entry, root: Path) -> Entry:
    path = root / "wavs" / "faulty.flac"
    path.write_bytes(b"fLaC" + bytes(range(256)) * 8)
    return dataclasses.replace(entry, path="wavs/faulty.flac", sha256=sha256_of(path))


def changed(entry: Entry, root: Path) -> Entry:
    return dataclasses.replace(entry, sha256="0" * 64)


def duplicate(entry: Entry, root: Path) -> Entry:
    data, rate = sf.read(root / "wavs" / "utt001.flac", dtype="int16")
    sf.write(root / "wavs" / "copy.wav", data, rate, subtype="PCM_16")
    return dataclasses.replace(entry, path="wavs/copy.wav", sha256=sha256_of(root / "wavs" / "copy.wav"))


def pipe(entry: Entry, root: Path) -> Entry:
    os.mkfifo(root / "wavs/pipe.wav")
    return dataclasses.replace(entry, path="wavs/pipe.wav")


def pipe_for_mel(entry: Entry, root: Path) -> Entry:
    os.mkfifo(root / "pipe.npy")
    return dataclasses.replace(entry, mel="pipe.npy")


def short_mel(entry: Entry, root: Path) -> Entry:
    spec = CONVENTIONS["tacotron2"]
    write_mel(root / "mels.npy", np.random.default_rng(0).uniform(-11, 0, (80, 50)).astype(np.float32), spec)
    return dataclasses.replace(entry, mel="mels.npy")


def with_nan(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(x)) == 500, np.nan, x)


FAULTS: dict[str, tuple[str, bool, Callable[[Entry, Path], Entry], str]] = {
    "missing": ("missing", True, missing, "no file wavs/ghost.wav"),
    "pipe": ("missing", True, pipe, "no file wavs/pipe.wav"),
    "pipe for a mel": ("mel", True, pipe_for_mel, "no file pipe.npy"),
    "corrupt": ("unreadable", True, corrupt, "wavs/faulty.flac: cannot be read as audio"),
    "changed": ("changed", True, changed, "is not the file the manifest was made from"),
    "too long": ("length", True, lambda e, r: dataclasses.replace(e, start=9), "26460 samples, the manifest says"),
    "wrong rate": ("rate", True, lambda e, r: dataclasses.replace(e, rate=24000), "22050 Hz, the manifest says 24000"),
    "lower rate": ("rate", True, rewrite(lambda x: x, rate=16000), "resamples to 22050: nothing above 8.0 kHz"),
    "higher rate": ("rate", False, rewrite(lambda x: x, rate=24000), "24000 Hz, training resamples to 22050"),
    "stereo": ("channels", False, rewrite(lambda x: np.stack([x, 0.5 * x], 1)), "2 channels averaged to mono"),
    "out of phase": ("channels", True, rewrite(lambda x: np.stack([x, -x], 1)), "cancel each other"),
    "nan": ("non-finite", True, rewrite(with_nan, subtype="FLOAT"), "1 of 26460 samples are NaN"),
    "clipped": ("clipping", True, rewrite(lambda x: np.clip(8 * x, -1, 1)), "samples ("),
    "clipped, then quieter": ("clipping", True, rewrite(lambda x: 0.3 * np.clip(8 * x, -1, 1)), "are clipped"),
    "offset": ("dc", True, rewrite(lambda x: x + 0.02), "mean +0.02"),
    "quiet": ("level", True, rewrite(lambda x: 0.005 * x), "speech at -"),
    "digital silence": ("level", True, rewrite(np.zeros_like), "speech at -120.0 dBFS"),
    "pauses": ("silence", True, rewrite(lambda x: np.pad(x, (RATE, 4 * RATE))), "% silence"),
    "16 kHz": ("bandwidth", True, rewrite(band_limited), "of 11.0 kHz"),
    "telephone": ("bandwidth", True, rewrite(lambda x: band_limited(x, 8000)), "of 11.0 kHz"),
    "short": ("short", False, rewrite(lambda x: x[:9000]), "9000 samples, a segment has 16384"),
    "duplicate": ("duplicate", True, duplicate, "the same audio as toy/utt001"),
    "mel": ("mel", True, short_mel, "has 50 frames, its audio of 26460 samples has 103 (hop 256)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found(name: str, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, harmful, plant, detail = FAULTS[name]
    entries = list(read_manifest(clean))
    entries[4] = plant(entries[4], clean.parent)
    write_manifest(clean, entries)
    code, found = report(clean, capsys)
    assert code == int(harmful) and found["harmful_utterances"] == int(harmful)
    (utterance,) = found["checks"][kind]["utterances"]
    assert (
        (utterance["line"], utterance["id"]) == (5, entries[4].id)
        and utterance["harmful"] == harmful
        and detail in utterance["detail"]
    )
    others = {k for k, c in found["checks"].items() if c["harmful"] and k != kind}
    assert not others - {"level"}, others  # channels that cancel leave silence


@pytest.mark.slow
def test_a_file_that_claims_a_year_costs_only_itself(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = list(read_manifest(clean))
    flac = clean.parent / "year.flac"
    sf.write(flac, good(1), RATE)
    data = bytearray(flac.read_bytes())
    data[21], data[22:26] = data[21] & 0xF0 | 8, bytes(4)  # STREAMINFO's number of samples: 2 ** 35
    flac.write_bytes(data)
    year = dataclasses.replace(entries[0], id="year", path=flac.name, duration=2**35, sha256=sha256_of(flac))
    write_manifest(clean, [*entries, year])
    _, found = report(clean, capsys)
    assert (
        found["utterances"] == 7 and found["harmful_utterances"] == 1 and found["checks"]["unreadable"]["harmful"] == 1
    )


def test_the_table_and_the_plot_show_it(clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    entries = list(read_manifest(clean))
    entries[2] = missing(entries[2], clean.parent)
    write_manifest(clean, entries)
    assert main(["audit", str(clean), "--plot", str(tmp_path / "a.png"), "--jobs", "2"]) == 1
    out = capsys.readouterr().out
    assert "6 utterances" in out and "1 of 6 utterances are harmful to training" in out
    assert "line 3: toy/utt002: no file wavs/ghost.wav" in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_fix_keeps_what_is_good_and_corrects_rates_and_lengths(
    clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    entries = list(read_manifest(clean))
    before = {p: p.stat().st_mtime_ns for p in (clean.parent / "wavs").iterdir()}
    planted = [missing(entries[0], clean.parent), dataclasses.replace(entries[1], duration=99_999), entries[2],
               dataclasses.replace(entries[3], rate=16000), duplicate(entries[4], clean.parent)]  # fmt: skip
    write_manifest(clean, planted)
    fixed = tmp_path / "elsewhere" / "fixed.jsonl"
    assert main(["audit", str(clean), "--fix", str(fixed), "--jobs", "1"]) == 1
    left = list(read_manifest(fixed))
    assert [e.id for e in left] == [e.id for e in entries[1:4]]
    assert [(e.rate, e.duration) for e in left] == [(RATE, 26460)] * 3
    assert all(e.path.startswith("../toy/wavs/") for e in left)
    far = tmp_path / "far" / "away" / "fixed.jsonl"
    assert main(["audit", str(fixed), "--fix", str(far), "--jobs", "1"]) == 0
    assert all(Path(e.path).is_absolute() for e in read_manifest(far))  # not ../../toy
    capsys.readouterr()
    assert report(fixed, capsys)[0] == 0
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())


def test_bad_input_is_one_sentence(clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    os.mkfifo(tmp_path / "pipe.jsonl")
    everything = tmp_path / "gone.jsonl"
    write_manifest(everything, [missing(e, clean.parent) for e in read_manifest(clean)])
    for arguments, message in (
        ([str(tmp_path / "ghost.jsonl")], "ghost.jsonl: no such file"),
        ([str(tmp_path / "pipe.jsonl")], "pipe.jsonl: is a pipe or device"),
        ([str(empty)], "holds no utterance"),
        ([str(clean), "--fix", str(clean)], "is the manifest itself"),
        ([str(clean), "--fix", str(tmp_path / "fixed.txt")], "must end in .jsonl"),
        ([str(clean), "--plot", str(tmp_path / "a.svg")], "must end in .png"),
        ([str(clean), "--jobs", "-1"], "--jobs must be from 1"),
        ([str(clean), "--convention", "mine"], "unknown mel convention"),
        ([str(everything), "--fix", str(tmp_path / "f.jsonl")], "is not written"),
    ):
        assert main(["audit", "--jobs", "1", *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "f.jsonl").exists()


@pytest.mark.slow
def test_rates_are_judged_against_what_training_resamples_to(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = list(read_manifest(clean))
    for place, rate in enumerate((48000, 44100, 44100, 44100, 44100)):
        path = clean.parent / f"wavs/high{place}.wav"
        x = speech_like(1.2, rate, 10 + place)
        if place == 1:  # as of a lossy codec: an edge that training at 22 050 Hz never sees
            x = soxr.resample(soxr.resample(x, rate, 32000), 32000, rate)
        sf.write(path, x, rate)
        entries[place] = dataclasses.replace(
            entries[place], path=f"wavs/high{place}.wav", duration=len(x), rate=rate, sha256=sha256_of(path)
        )
    write_manifest(clean, entries)
    code, found = report(clean, capsys)
    assert code == 0 and found["rate"] == RATE
    assert (found["checks"]["rate"]["harmful"], found["checks"]["rate"]["notes"]) == (0, 5)
    assert found["checks"]["short"]["notes"] == 0
    code, found = report(clean, capsys, "--rate", "44100")
    assert code == 1 and [u["line"] for u in found["checks"]["bandwidth"]["utterances"]] == [2]
    assert [u["detail"] for u in found["checks"]["rate"]["utterances"] if u["harmful"]] == [
        "22050 Hz, training resamples to 44100: nothing above 11.0 kHz"
    ]


def test_a_folder_is_audited_and_prepared_by_its_manifest(
    clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert report(clean.parent, capsys)[1]["utterances"] == 6
    assert main(["prepare", str(clean.parent), str(tmp_path / "shards"), "--jobs", "1"]) == 0
    capsys.readouterr()
    for command in (
        ["audit", str(clean.parent / "wavs")],
        ["prepare", str(clean.parent / "wavs"), str(tmp_path / "b")],
    ):
        assert main(command) == 2
        assert "flowvocoder corpus prepare folder OUT --source" in capsys.readouterr().err


def test_stretches_of_one_recording_are_audited_by_themselves(
    clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    long = np.concatenate([good(1), np.zeros(RATE), good(2)])
    sf.write(tmp_path / "long.flac", long, RATE)
    whole = Entry(id="l/0", path="long.flac", duration=len(long), rate=RATE, speaker="a", language="en",
                  sha256=sha256_of(tmp_path / "long.flac"), split="train")  # fmt: skip
    spans = [(0, 26460), (26460, RATE), (26460 + RATE, 26460)]
    manifest = tmp_path / "m.jsonl"
    write_manifest(
        manifest, [dataclasses.replace(whole, id=f"l/{i}", start=s, duration=d) for i, (s, d) in enumerate(spans)]
    )
    code, found = report(manifest, capsys)
    assert code == 1 and found["harmful_utterances"] == 1
    assert [u["id"] for u in found["checks"]["level"]["utterances"]] == ["l/1"]


def test_clipping_is_counted_and_loud_speech_is_not() -> None:
    loud = 0.999 * good().astype(np.float64) / np.abs(good()).max()
    assert clipped_samples(loud, RATE) == 0
    clipped = np.clip(2.0 * loud, -1, 1)
    runs = np.count_nonzero(np.abs(clipped) == 1)
    assert 0.5 * runs < clipped_samples(clipped, RATE) <= runs
    again = soxr.resample(soxr.resample(np.clip(4.0 * loud, -1, 1), RATE, 48000) / 2, 48000, RATE)
    assert clipped_samples(again, RATE) > 100


@pytest.mark.parametrize("rate", [16000, 22050, 48000, 96000])
@pytest.mark.parametrize("peak", [0.005, 0.05, 0.9])
def test_tops_of_slow_waves_are_not_clipping(rate: int, peak: float) -> None:
    time = np.arange(rate) / rate
    for hertz in (85.0, 120.3, 440.0):
        wave = np.rint(peak * np.sin(2 * np.pi * hertz * time) * 32768) / 32768
        assert clipped_samples(wave, rate) == 0
    flat = np.clip(2.0 * wave, -peak, peak)
    assert clipped_samples(flat, rate) > 0.3 * rate


@pytest.mark.slow
def test_a_process_that_dies_costs_its_own_item_only() -> None:
    results = list(ordered_map(pid_or_die, iter(range(20)), jobs=2))
    assert results[13] == Crashed(13)
    assert [r[0] for r in results if not isinstance(r, Crashed)] == [i for i in range(20) if i != 13]
    assert os.getpid() not in {r[1] for r in results if not isinstance(r, Crashed)}


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    results = ordered_map(math.sqrt, (taken.append(i) or i for i in range(1000)), jobs=2, ahead=2)
    assert next(results) == 0.0 and len(taken) <= 5
    results.close()


@pytest.mark.slow
def test_a_deep_audit_goes_on_within_a_line_and_names_its_manifest(
    clean: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = clean.parent / "deep.jsonl"
    code, found = report(clean, capsys, "--deep", str(out))
    assert code == 0
    content = out.read_text()
    header, *rows = map(json.loads, content.splitlines())
    assert header["deep_report"] == 1 and [row["line"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all({"score", "p_value", "spans"} <= set(row) for row in rows)
    anomalous = [row["id"] for row in rows if row["p_value"] <= 0.01 or row["spans"]]
    assert [one["id"] for one in found["checks"]["anomaly"]["utterances"]] == anomalous
    out.write_text(content[: content.index('"line": 4') + 20])  # as a killed program leaves it
    heard = []
    monkeypatch.setattr("flowvocoder.audit.deep.Deep.row", lambda self, line, *_: heard.append(line.number) or rows[line.number - 1])  # fmt: skip  # noqa: E501
    assert report(clean, capsys, "--deep", str(out)) == (code, found)
    assert heard == [4, 5, 6] and out.read_text() == content
    out.write_text(content.replace(rows[1]["id"], "another"))
    for more, said in (((), "another manifest"), (("--false-alarms", "0.05"), "another detector or --false-alarms")):
        assert main(["audit", str(clean), "--jobs", "1", "--deep", str(out), *more]) == 2
        assert said in capsys.readouterr().err
    out.write_text("{}\n")
    assert main(["audit", str(clean), "--jobs", "1", "--deep", str(out)]) == 2
    assert "is no report" in capsys.readouterr().err
