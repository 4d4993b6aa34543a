"""Preparing: what goes in comes out, the same bytes whatever happens on the way."""

import dataclasses
import functools
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from deadly import write_deadly
from helpers import entries_of, make_corpus, make_manifest, speech_like

from flowvocoder.audio.files import read_audio
from flowvocoder.audio.levels import frame_levels, speech_level, trim_silence
from flowvocoder.cli.main import main
from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.errors import ConfigError
from flowvocoder.files import sha256_of
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS
from flowvocoder.prepare.convert import Converted, Settings, Skipped, convert, parse_level
from flowvocoder.prepare.engines import write_shards
from flowvocoder.prepare.plan import make_plan
from flowvocoder.prepare.run import prepare

RATE = 22050


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 24 recordings, three of them for validation, two unseen, one that is no audio."""
    root = make_corpus(tmp_path_factory.mktemp("data") / "toy", utterances=24, seconds=0.6)
    entries = list(entries_of(root))
    for index, split in {0: "validation", 5: "validation", 9: "validation", 3: "unseen", 4: "unseen"}.items():
        entries[index] = dataclasses.replace(entries[index], split=split)
    poisoned = root / "wavs" / "utt007.flac"
    poisoned.write_bytes(poisoned.read_bytes()[:400])
    entries[7] = dataclasses.replace(entries[7], sha256=sha256_of(poisoned))
    write_manifest(root / "manifest.jsonl", entries)
    return root / "manifest.jsonl"


def run(manifest: Path, out: Path, *more: str) -> int:
    return main(["prepare", str(manifest), str(out), "--jobs", "1", "--shard-size", "8", *more])


def contents(out: Path) -> dict[str, str]:
    return {p.name: sha256_of(p) for p in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "shards"
    assert run(toy, out) == 0
    return out


def members(path: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)
            key, _, extension = info.name.partition(".")
            found.setdefault(key, {})[extension] = tar.extractfile(info).read()  # type: ignore[union-attr]
    return found


def test_shards_hold_each_recording_once_in_its_split(toy: Path, whole: Path) -> None:
    entries = {e.id: e for e in read_manifest(toy)}
    index = json.loads((whole / "index.json").read_text())
    assert [s["name"] for s in index["shards"]] == ["train-00000", "train-00001", "train-00002", "validation-00000",
                                                    "unseen-00000"]  # fmt: skip
    seen = {}
    for shard in index["shards"]:
        tar = whole / f"{shard['name']}.tar"
        assert sha256_of(tar) == shard["sha256"] and tar.stat().st_size == shard["bytes"]
        found = members(tar)
        assert len(found) == shard["utterances"] <= 8
        for parts in found.values():
            about = json.loads(parts["json"])
            entry = entries[about["id"]]
            audio, rate = sf.read(io.BytesIO(parts["flac"]), dtype="int16")
            original, _ = sf.read(entry.audio_file(toy.parent), dtype="int16")
            assert rate == RATE and np.array_equal(audio, original)
            assert about["split"] == entry.split == shard["split"] and about["samples"] == len(audio)
            seen[entry.id] = seen.get(entry.id, 0) + 1
        assert sum(json.loads(p["json"])["samples"] for p in found.values()) == shard["samples"]
    assert seen == {i: 1 for i in entries if i != "toy/utt007"}
    assert index["utterances"] == 23 and index["samples"] == 23 * 13230
    assert index["minutes"] == pytest.approx(23 * 0.6 / 60, abs=1e-3)


def test_a_poisoned_file_is_reported_and_skipped(whole: Path) -> None:
    (line,) = (whole / "skipped.jsonl").read_text().splitlines()
    skipped = json.loads(line)
    assert skipped["id"] == "toy/utt007" and skipped["reason"].startswith("wavs/utt007.flac: ")
    assert json.loads((whole / "index.json").read_text())["skipped"] == 1


@pytest.mark.slow
def test_processes_change_nothing(toy: Path, whole: Path, tmp_path: Path) -> None:
    assert run(toy, tmp_path / "out", "--jobs", "2") == 0
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_killed_at_any_point_and_run_again_gives_the_same_bytes(
    toy: Path, whole: Path, tmp_path: Path, thorough: bool
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "flowvocoder", "prepare", str(toy), str(out), "--jobs", "2", "--shard-size", "8"]
    for files in (1, 2, 4, 7) if thorough else (2, 4):  # the plan, then a tar file, its JSON, ...
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            if out.exists() and len(list(out.iterdir())) >= files:
                break
        process.kill()
        process.wait()
    assert (out / "plan.json").exists()
    assert run(toy, out) == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("lost", ["train-00001.tar", "train-00001.json", "index.json", "skipped.jsonl"])
def test_what_is_missing_or_cut_short_is_written_again(lost: str, toy: Path, whole: Path, tmp_path: Path) -> None:
    import shutil

    for damage in ("gone", "cut"):
        out = tmp_path / damage
        shutil.copytree(whole, out)
        kept = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
        if damage == "gone":
            (out / lost).unlink()
        else:
            (out / lost).write_bytes((out / lost).read_bytes()[:-9])
        assert run(toy, out) == 0
        assert contents(out) == contents(whole)
        assert (out / "train-00000.tar").stat().st_mtime_ns == kept["train-00000.tar"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(toy: Path, tmp_path: Path) -> None:
    entries = list(read_manifest(toy))
    many = toy.with_name("many.jsonl")  # seconds of work: it must not be over when it is to be killed
    write_manifest(many, [dataclasses.replace(e, id=f"{e.id}-{n}") for n in range(50) for e in entries])
    command = [sys.executable, "-m", "flowvocoder", "prepare", str(many), str(tmp_path / "out"), "--jobs", "2",
               "--shard-size", "1"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list((tmp_path / "out").glob("*.tar")):
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert children
    while time.monotonic() < deadline and any(Path(f"/proc/{p}").exists() for p in children):
        time.sleep(0.05)
    assert not [p for p in children if Path(f"/proc/{p}").exists()]


def test_another_plan_or_folder_is_refused(
    toy: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(whole)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    for out, more, message in (
        (whole, ["--rate", "16000"], "was started with another plan (rate 22050, not 16000)"),
        (whole, ["--shard-size", "5"], "shard_size 8, not 5"),
        (tmp_path / "mine", [], "holds something else"),
        (tmp_path / "x", ["--level", "loud"], "--level loud: expected keep, speech=DB or peak=DB"),
        (tmp_path / "x", ["--level", "peak=3"], "--level peak=3"),
        (tmp_path / "x", ["--rate", "3"], "--rate must be from 1000"),
        (tmp_path / "x", ["--shard-size", "0"], "--shard-size must be from 1"),
        (tmp_path / "x", ["--mel", "vocos", "--rate", "16000"], "vocos mels are of audio at 24000 Hz"),
        (tmp_path / "x", ["--mel", "mine"], "unknown mel convention"),
        (tmp_path / "x", ["--address", "auto"], "--address is for --engine ray"),
    ):
        assert run(toy, out, *more) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
    assert contents(whole) == before and not (tmp_path / "x").exists()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_bad_manifest_is_refused_before_the_work(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = toy.read_bytes().splitlines(keepends=True)
    for bad, message in (
        ([*lines, lines[2]], "line 25: id 'toy/utt002' comes a second time"),
        ([*lines[:4], lines[4].replace(b'"en"', b'"\xe9n"'), *lines[5:]], "line 5: not UTF-8"),
        ([], "holds no utterance"),
    ):
        path = toy.parent / "bad.jsonl"
        path.write_bytes(b"".join(bad))
        assert run(path, tmp_path / "out") == 2
        assert f"{path}: {message}" in capsys.readouterr().err
        path.unlink()
        assert not (tmp_path / "out").exists()


def one(manifest: Path, settings: Settings | None = None, **changes: object) -> Converted | Skipped:
    entry = dataclasses.replace(next(read_manifest(manifest)), **changes)
    return convert(entry, manifest.parent, settings or Settings())


def audio_of(converted: Converted | Skipped) -> np.ndarray:
    assert isinstance(converted, Converted), converted
    return sf.read(io.BytesIO(dict(converted.members)["flac"]), dtype="float32")[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"path": "wavs/ghost.flac"}, "wavs/ghost.flac: no such file"),
        ({"sha256": "0" * 64}, "wavs/utt000.flac: is not the file the manifest was made from (sha256)"),
        ({"rate": 16000}, "wavs/utt000.flac: has 22050 Hz, the manifest says 16000"),
        ({"start": 1}, "wavs/utt000.flac: holds 13230 samples, 1 to 13231 are requested"),
        ({"mel": "ghost.npy"}, "ghost.npy: has no spec beside it"),
    ],
)
def test_why_an_utterance_is_skipped(changes: dict, reason: str, toy: Path) -> None:
    skipped = one(toy, **changes)
    assert isinstance(skipped, Skipped) and skipped.reason.startswith(reason)


def test_a_pipe_or_device_is_skipped(tmp_path: Path) -> None:
    manifest = make_manifest(make_corpus(tmp_path / "toy", 1, 0.6))
    os.mkfifo(manifest.parent / "pipe.flac")
    (manifest.parent / "zero.npy").symlink_to("/dev/zero")
    for changes, reason in (
        ({"path": "pipe.flac"}, "pipe.flac: is a pipe or device, not an audio file"),
        ({"mel": "zero.npy"}, "zero.npy: no such file"),
    ):
        skipped = one(manifest, Settings(mel="tacotron2"), **changes)
        assert isinstance(skipped, Skipped) and skipped.reason == reason


def test_resampling_keeps_the_signal(toy: Path) -> None:
    entry = next(read_manifest(toy))
    for resampler in ("soxr", "torchaudio"):
        low = audio_of(one(toy, Settings(rate=16000, resampler=resampler)))
        expected = read_audio(entry.audio_file(toy.parent), 16000).samples
        assert len(low) == len(expected) == 9600
        assert np.abs(low - expected)[100:-100].max() < 2e-3


def test_stretches_and_channels(tmp_path: Path) -> None:
    samples = speech_like(1.0, RATE)
    sf.write(tmp_path / "a.wav", np.stack([samples, np.zeros_like(samples)], 1), RATE, subtype="PCM_16")
    entry = Entry(id="a", path="a.wav", start=1000, duration=5000, rate=RATE, speaker="a", language="en",
                  sha256=sha256_of(tmp_path / "a.wav"), split="train")  # fmt: skip
    audio = audio_of(convert(entry, tmp_path, Settings()))
    assert np.abs(audio - samples[1000:6000] / 2).max() < 1e-4


def test_upsampling_is_warned_of(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(toy, tmp_path / "up", "--rate", "24000") == 0
    assert "24 utterances have less than 24000 Hz" in capsys.readouterr().err
    assert run(toy, tmp_path / "down", "--rate", "16000") == 0
    assert "utterances have less" not in capsys.readouterr().err


def test_nothing_converted_is_a_failure(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(toy.read_bytes())
    assert run(moved, tmp_path / "out") == 2
    assert "skipped.jsonl: none of 24 utterances could be converted" in capsys.readouterr().err
    assert "wavs/utt000.flac: no such file" in (tmp_path / "out/skipped.jsonl").read_text()


@pytest.mark.slow
def test_trimming_leaves_speech_and_a_margin() -> None:
    speech = speech_like(0.8, RATE)
    loud = frame_levels(speech, RATE) > speech_level(frame_levels(speech, RATE)) - 30
    speech = speech[int(np.flatnonzero(loud)[0]) * 441 :]
    for head, tail in ((20_000, 30_000), (0, 30_000), (20_000, 0), (0, 0)):
        trimmed = trim_silence(np.pad(speech, (head, tail)), RATE)
        assert len(speech) <= len(trimmed) <= len(speech) + 2 * (2205 + 441)
        assert np.abs(trimmed).max() == np.abs(speech).max()
    assert len(trim_silence(np.zeros(5000, dtype=np.float32), RATE)) == 5000


def test_level_policies(toy: Path) -> None:
    for policy, measure in (("peak=-6", lambda x: 20 * np.log10(np.abs(x).max())),
                            ("speech=-20", lambda x: speech_level(frame_levels(x, RATE)))):  # fmt: skip
        audio = audio_of(one(toy, Settings(level=policy)))
        assert measure(audio) == pytest.approx(float(policy.split("=")[1]), abs=0.05)
    pushed = audio_of(one(toy, Settings(level="speech=-3")))
    assert 0.98 < np.abs(pushed).max() < 0.999
    with pytest.raises(ConfigError):
        parse_level("speech=nan")


def test_mels_are_the_audios_or_the_ones_given(toy: Path, tmp_path: Path) -> None:
    spec = CONVENTIONS["hifigan"]
    made = one(toy, Settings(mel="hifigan"))
    audio = torch.from_numpy(audio_of(made))
    stored = np.load(io.BytesIO(dict(made.members)["npy"]))  # type: ignore[union-attr]
    assert torch.equal(torch.from_numpy(stored), MelFrontEnd(spec)(audio))
    assert json.loads(dict(made.members)["json"])["mel"] == spec.to_dict()  # type: ignore[union-attr]
    given = np.random.default_rng(0).uniform(-11, 0, (80, 51)).astype(np.float32)
    write_mel(tmp_path / "given.npy", given, spec)
    made = one(toy, Settings(), mel=str(tmp_path / "given.npy"))
    assert np.array_equal(np.load(io.BytesIO(dict(made.members)["npy"])), given)  # type: ignore[union-attr]
    write_mel(tmp_path / "given.npy", given[:, :40], spec)
    made = one(toy, Settings(), mel=str(tmp_path / "given.npy"))
    assert isinstance(made, Skipped) and "has 40 frames, its audio of 13230 samples has 51" in made.reason


@pytest.mark.thorough
@pytest.mark.slow
def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    """Measured in a process of its own, for ten thousand lines and for two hundred thousand."""
    code = (
        "import sys, resource; from pathlib import Path; from flowvocoder.prepare.plan import make_plan;"
        "from flowvocoder.prepare.convert import Settings; plan = make_plan(Path(sys.argv[1]), Settings(), 256);"
        "print(len(plan.shards), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks, line = {}, Entry(id="ID", path="wavs/ID.flac", duration=90_000, rate=RATE, speaker="a", language="en",
                            text="word " * 30, sha256="0" * 64, split="train").to_json()  # fmt: skip
    for count in (10_000, 200_000):
        manifest = tmp_path / f"{count}.jsonl"
        with manifest.open("w") as file:
            file.writelines(line.replace("ID", f"utt{i:07d}") + "\n" for i in range(count))
        done = subprocess.run([sys.executable, "-c", code, str(manifest)], capture_output=True, text=True, check=True)
        shards, peaks[count] = map(int, done.stdout.split())
        assert shards == -(-(count - 1) // 256) + 1  # one is held out
    assert manifest.stat().st_size > 70e6
    assert peaks[200_000] - peaks[10_000] < 25_000  # KiB


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_skipped_and_nothing_else(toy: Path, whole: Path, tmp_path: Path) -> None:
    plan = make_plan(toy, Settings(), 8)
    write = functools.partial(write_deadly, plan=plan, out=tmp_path)
    done = list(write_shards(write, plan.shards, jobs=2))
    assert [d.name for d in done] == [s.name for s in plan.shards]
    killed = []
    for shard in plan.shards:
        about = json.loads((tmp_path / f"{shard.name}.json").read_text())
        skipped = {s["id"]: s["reason"] for s in about["skipped"]}
        killed += [i for i in skipped if "crashes the decoder" in skipped[i]]
        if "toy/utt011" not in skipped:
            assert sha256_of(tmp_path / f"{shard.name}.tar") == sha256_of(whole / f"{shard.name}.tar")
    assert killed == ["toy/utt011"]


@pytest.mark.slow
def test_ray_gives_the_same_bytes_although_a_node_is_killed(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # read when the cluster starts, here before the product's code
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    try:
        other = cluster.add_node(**small)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        plan, out = make_plan(toy, Settings(), 1), tmp_path / "out"
        assert len(ray.nodes()) == 2

        from flowvocoder.prepare import engines

        done, killed = engines.cluster_map, []

        def kill_a_node(*given):  # type: ignore[no-untyped-def]
            for one in done(*given):
                if not killed:
                    killed.append(len(list(out.glob("*.tar"))))
                    cluster.remove_node(other, allow_graceful=False)
                yield one

        monkeypatch.setattr(engines, "cluster_map", kill_a_node)
        summary = prepare(plan, out, ray_address=cluster.address)
        assert 0 < killed[0] < len(plan.shards) == 24, "the node was killed before or after the work"
        deadline = time.monotonic() + 120  # Ray learns of it in its own time
        while sum(n["Alive"] for n in ray.nodes()) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert sum(n["Alive"] for n in ray.nodes()) == 1
        assert summary.utterances == 23 and summary.skipped == 1
        prepare(plan, tmp_path / "local")
        assert contents(out) == contents(tmp_path / "local")
    finally:
        ray.shutdown()
        cluster.shutdown()
    # Such a thread's tracebacks made `ast.parse` fail in other tests (Python 3.11, gh-106905).
    assert not [t.name for t in threading.enumerate() if "usage" in t.name]
