"""The detector finds what was broken where it was broken, and its p-values and files are what they say."""

import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from helpers import make_corpus
from safetensors.numpy import load_file, save_file

import flowvocoder
import flowvocoder.anomaly.vocoders
from flowvocoder.anomaly import AnomalyDetector, AnomalyStream
from flowvocoder.anomaly.calibration import Calibration
from flowvocoder.anomaly.damages import DAMAGES, Clean, to_16_bit
from flowvocoder.anomaly.detector import BUNDLED, Piece
from flowvocoder.anomaly.evidence import LINES
from flowvocoder.anomaly.examples import Corpus
from flowvocoder.anomaly.features import EDGE, FEATURES, NAMES, band_edge, features
from flowvocoder.anomaly.fitting import Settings
from flowvocoder.anomaly.framing import FRAMES
from flowvocoder.anomaly.spans import find_spans
from flowvocoder.audio.resample import resample
from flowvocoder.cli.main import main
from flowvocoder.errors import AudioError, CheckpointError, ConfigError
from flowvocoder.files import sha256_of

EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
LOCAL = [name for name, damage in DAMAGES.items() if damage.kind in ("loss", "click")]


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    return sf.read(EXAMPLES / "kerstin.flac", dtype="float32")


@pytest.fixture(scope="module")
def detector() -> AnomalyDetector:
    return AnomalyDetector.load()


@pytest.fixture(scope="module")
def clean(speech: tuple[np.ndarray, int]) -> Clean:
    other = sf.read(EXAMPLES / "kathleen.flac", dtype="float32")[0]
    return Clean(*speech, lambda: other, lambda: other)


@pytest.fixture(scope="module")
def gap(clean: Clean) -> tuple[np.ndarray, float, float]:
    """Speech with 100 ms of zeros where it is loud, and the seconds of their start and end."""
    at = int(np.argmax(np.convolve(clean.samples**2, np.ones(2000), "same")))
    broken = clean.samples.copy()
    broken[at - 1102 : at + 1103] = 0.0
    return broken, (at - 1102) / clean.rate, (at + 1103) / clean.rate


def test_each_corpus_calibrates_as_much_whatever_its_speakers() -> None:
    speakers = [tuple(Path(f"studio/{n}") for n in range(100))] + [(Path(f"many/{s}"),) for s in range(40)]
    corpus = Corpus(tuple(speakers), (0, *[1] * 40))
    training, held = corpus.split(0.3, 0)
    assert len(training.speakers[0]) == 75 and len(held.speakers[0]) == 25 and len(held.speakers) == 13
    assert not {f for s in training.speakers for f in s} & {f for s in held.speakers for f in s}
    assert [held.in_turn(i).folders[0] for i in range(4)] == [0, 1, 0, 1]


@pytest.mark.slow
def test_digital_silence_is_silence_and_none_at_the_ends_is_a_fault(
    detector: AnomalyDetector, speech: tuple[np.ndarray, int]
) -> None:
    samples, rate = speech
    (span,) = detector.spans(np.zeros(3 * rate), rate)
    assert span.kind == "silence" and (span.start, span.end) == (0.0, 3.0)
    alone, zeros = detector.score(samples[: 3 * rate], rate), np.zeros(2 * rate, np.float32)
    padded = detector.score(np.concatenate([zeros, samples[: 3 * rate], zeros]), rate)
    assert abs(padded.score - alone.score) < 1.0 and len(padded.spans) == len(alone.spans)
    stream = AnomalyStream(detector, rate)
    assert [s.kind for s in stream.push(np.zeros(20 * rate, np.float32)) + stream.flush()] == ["silence", "silence"]


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_local_damage_changes_nothing_outside_its_spans(name: str, strength: float, clean: Clean) -> None:
    broken, spans = DAMAGES[name].apply(clean, strength, np.random.default_rng(1))
    assert spans and len(broken) == len(clean.samples)
    changed = np.flatnonzero(broken != clean.samples) / clean.rate
    assert len(changed)
    inside = np.any([(changed >= start) & (changed <= end) for start, end in spans], axis=0)
    assert inside.all()


@pytest.mark.slow
def test_features_are_finite_and_do_not_know_the_level(speech: tuple[np.ndarray, int]) -> None:
    samples, rate = speech[0][: speech[1]], speech[1]
    loud, quiet = features(samples, rate), features(samples * np.float32(0.25), rate)
    assert loud.shape == (len(samples) * FRAMES // rate, len(FEATURES)) and np.isfinite(loud).all()
    levels = "mel", "level", "highest", "impulse", "latent ", "top mean"
    middle = [i for i, name in enumerate(NAMES) if name.startswith(levels)]
    assert np.median(np.abs(loud - quiet)[:, middle]) < 0.1


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
@pytest.mark.parametrize("factor", [1.0, 1.03, 0.97])
def test_another_playback_rate_leaves_a_band_edge(rate: int, factor: float) -> None:
    noise = to_16_bit(0.1 * np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32))
    played = noise if factor == 1.0 else to_16_bit(resample(noise, round(rate * factor), rate))
    edge = np.array(band_edge(played, rate, len(played) * FRAMES // rate))
    highest = edge[NAMES[EDGE].index("top mean 19")]
    assert np.abs(highest).max() < 0.5 if factor == 1.0 else highest.max() < -3.0


@pytest.mark.slow
def test_a_gap_is_found_where_it_is(detector: AnomalyDetector, gap: tuple, clean: Clean) -> None:
    broken, start, end = gap
    assert not [s for s in detector.spans(clean.samples, clean.rate) if s.start < end and start < s.end]
    verdict = detector.score(broken, clean.rate)
    (span,) = [s for s in verdict.spans if s.start < end and start < s.end]
    assert abs(span.start - start) < 0.02 and abs(span.end - end) < 0.02 and span.kind == "loss"
    assert verdict.p_value <= 0.05 and verdict.score > detector.score(clean.samples, clean.rate).score


@pytest.mark.slow
def test_a_stream_gives_the_spans_of_the_file(detector: AnomalyDetector, gap: tuple, clean: Clean) -> None:
    broken = np.concatenate([clean.samples, gap[0]])
    stream, found = AnomalyStream(detector, clean.rate), []
    for first in range(0, len(broken), 5000):
        found += stream.push(broken[first : first + 5000])
    found += stream.flush()
    whole = detector.spans(broken, clean.rate)
    at = len(clean.samples) / clean.rate + gap[1]
    for spans in (found, whole):
        assert any(abs(s.start - at) < 0.05 and s.kind == "loss" for s in spans), spans
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


def test_p_values_are_how_often_clean_speech_scores_as_high() -> None:
    calibration = Calibration.of(np.arange(99.0)[::-1], np.arange(99.0), 1.0)
    assert [calibration.p_value(x) for x in (-1.0, 98.0, 99.0, 49.0)] == pytest.approx([1.0, 0.02, 0.01, 0.51])
    assert calibration.p_value(99.0, pieces=2) == pytest.approx(1 - 0.99**2)
    assert np.mean(np.arange(99.0) >= calibration.threshold(0.1)) == pytest.approx(0.1, abs=0.01)
    for share in (0.001, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="false alarms"):
            calibration.threshold(share)


@pytest.mark.parametrize("count", [2, 6, 48, 106, 160, 320, 333])
def test_the_smallest_p_value_may_be_asked_for_as_it_is_shown(count: int) -> None:
    calibration = Calibration.of(np.arange(float(count)), np.arange(float(count)), 1.0)
    assert calibration.p_value(count, pieces=1) <= calibration.smallest
    for share in (calibration.smallest, float(calibration.shown)):
        assert calibration.threshold(share) == count - 1


def test_spans_begin_and_end_where_the_evidence_does() -> None:
    evidence = np.full((200, len(LINES)), -5.0)
    click = list(LINES).index("click")
    evidence[50:70, click] = 8.0
    evidence[75:80, click] = 8.0  # near enough to be of the same span
    evidence[150:151, 0] = 6.0
    first, second = find_spans(evidence, 5.0)
    assert (first.start, first.end, first.kind) == (50 / FRAMES, 80 / FRAMES, "click")
    assert (second.start, second.end, second.kind, second.score) == (150 / FRAMES, 151 / FRAMES, "loss", 6.0)


@pytest.mark.parametrize(
    ("kind", "local", "found"),
    [
        ("reverberation", True, ["reverberation", "splice"]),
        ("reverberation", False, ["reverberation"]),
        ("loss", True, ["splice"]),
        ("loss", False, ["loss"]),
    ],
)
def test_a_piece_is_named_as_a_whole_unless_its_spans_say_why(
    detector: AnomalyDetector, kind: str, local: bool, found: list[str]
) -> None:
    frames, odds = np.zeros((2 * FRAMES, len(LINES))), np.full(len(detector.kinds), -9.0)
    odds[detector.kinds.index(kind)] = 19.0
    if local:
        frames[100, list(LINES.values()).index("splice")] = 50.0
    verdict = detector.verdict([Piece(frames, odds, 0.0)])
    assert [span.kind for span in verdict.spans] == found
    assert (verdict.spans[0].start, verdict.spans[0].end) == (
        (0.0, 2.0) if found != ["splice"] else (100 / 90, 101 / 90)
    )
    quiet = detector.verdict([Piece(frames, np.full(len(detector.kinds), -9.0), 0.0)])
    assert [span.kind for span in quiet.spans] == (["splice"] if local else [])


@pytest.mark.slow
def test_fit_goes_on_where_it_was_ended_and_saves_what_it_is(
    tmp_path: Path, speech: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_corpus(tmp_path / "toy", utterances=8, seconds=1.6)
    monkeypatch.setattr("flowvocoder.anomaly.fitting.SHARD", 1)
    monkeypatch.setattr("flowvocoder.anomaly.fitting.LONGEST_CALIBRATION", 1.6)
    monkeypatch.setattr("flowvocoder.anomaly.novelty.STEPS", 5)
    monkeypatch.setattr("flowvocoder.anomaly.evidence.MOST_STEPS", 20)
    settings, work = Settings(crops=2, calibration=2), tmp_path / "work"
    work.mkdir()
    first = AnomalyDetector.fit([root], settings, work)
    kept = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    next(iter(kept)).unlink()
    second = AnomalyDetector.fit([root], settings, work)
    assert sum(path.stat().st_mtime_ns != time for path, time in kept.items()) == 1
    first.save(tmp_path / "detector")
    loaded = AnomalyDetector.load(tmp_path / "detector")
    part = speech[0][: 2 * speech[1]]
    verdicts = [d.score(part, speech[1], 0.5) for d in (first, second, loaded)]
    assert verdicts[0] == verdicts[1] and verdicts[0].score == pytest.approx(verdicts[2].score, abs=1e-4)
    weights = tmp_path / "detector" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        AnomalyDetector.load(tmp_path / "detector")


@pytest.mark.parametrize("changed", ["seen", "stay", "missing", "shape", "columns"])
def test_weights_that_do_not_fit_are_refused(changed: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "detector")
    weights, config = tmp_path / "detector" / "model.safetensors", tmp_path / "detector" / "config.json"
    tensors = load_file(weights)
    if changed in ("seen", "stay"):
        tensors[f"evidence.{changed}"] = tensors[f"evidence.{changed}"] + 1000.0
    elif changed == "columns":
        tensors["evidence.tones.columns"] = tensors["evidence.tones.columns"] + 1000.0
    elif changed == "missing":
        del tensors["evidence.spectra.scores.bias"]
    else:
        tensors["evidence.spectra.scores.bias"] = tensors["evidence.spectra.scores.bias"][1:]
    save_file(tensors, weights)
    about = json.loads(config.read_text()) | {"weights_sha256": sha256_of(weights)}
    config.write_text(json.dumps(about))
    with pytest.raises(CheckpointError) as caught:
        AnomalyDetector.load(tmp_path / "detector")
    assert str(weights) in str(caught.value) and "\n" not in str(caught.value)


def test_it_refuses_what_is_no_speech(detector: AnomalyDetector) -> None:
    with pytest.raises(AudioError, match="too few"):
        detector.score(np.zeros(100, np.float32), 22050)
    with pytest.raises(AudioError, match="2 channels"):
        detector.score(np.zeros((2, 22050), np.float32), 22050)
    assert detector.damages == tuple(damage.kind for damage in DAMAGES.values()), (
        "the bundled detector was fitted with other damages: fit it again"
    )


@pytest.mark.slow
def test_the_command_writes_the_fixed_form(
    tmp_path: Path, gap: tuple, clean: Clean, capsys: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "broken.wav", gap[0], clean.rate)
    shutil.copy(EXAMPLES / "kathleen.flac", tmp_path)
    outputs = ["--out", str(tmp_path / "report.json"), "--plot", str(tmp_path / "plots")]
    assert main(["anomaly", "score", str(tmp_path), "--json", *outputs]) == 1  # something is anomalous
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((tmp_path / "report.json").read_text())
    assert [list(row) for row in rows] == [["file", "score", "p_value", "spans"]] * 2
    assert list(rows[0]["spans"][0]) == ["start", "end", "score", "kind"]
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == ["broken.png", "kathleen.png"]
    stereo = np.repeat(sf.read(tmp_path / "kathleen.flac")[0][:, None], 2, 1)
    sf.write(tmp_path / "stereo.flac", stereo, 22050)
    assert main(["anomaly", "score", str(tmp_path / "stereo.flac")]) == 0
    assert "2 channels averaged to mono" in capsys.readouterr().err


@pytest.mark.parametrize("plot", ["both.png", "plots"])
def test_no_picture_overwrites_another(tmp_path: Path, plot: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.wav", tmp_path / "a.flac"]
    for file in files:
        shutil.copy(EXAMPLES / "kathleen.flac", file)
    assert main(["anomaly", "score", *map(str, files), "--plot", str(tmp_path / plot)]) == 2
    assert plot in capsys.readouterr().err and not (tmp_path / plot).exists()


@pytest.mark.slow
def test_the_command_listens_to_a_pipe(
    gap: tuple, clean: Clean, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pcm"
    (np.clip(gap[0], -1, 1) * 32767).astype(np.int16).tofile(path)
    with path.open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        assert main(["anomaly", "score", "-", "--rate", str(clean.rate)]) == 1
    spans = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(abs(span["start"] - gap[1]) < 0.05 and span["kind"] == "loss" for span in spans)


def test_a_stream_that_is_too_short_is_refused_as_a_file_is(detector: AnomalyDetector) -> None:
    stream = AnomalyStream(detector, 22050)
    stream.push(np.zeros(500, np.float32))
    with pytest.raises(AudioError, match=r"500 samples \(0.023 s\) are too few"):
        stream.flush()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "ghost.wav"], "ghost.wav: no such file"),
        (["score", str(EXAMPLES / "kathleen.flac"), "--false-alarms", "1e-9"], "false alarms must be"),
        (["score", str(EXAMPLES / "kathleen.flac"), "--detector", str(EXAMPLES)], "not a detector"),
        (["score", "-", "a.wav"], "standard input"),
        (["fit", str(EXAMPLES), "--out", str(EXAMPLES)], "not replaced"),
        (["fit", str(EXAMPLES), "--out", "detector"], "too few"),
        (["fit", str(EXAMPLES), "--out", "detector", "--calibration", "1"], "at least 1 and 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["anomaly", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
