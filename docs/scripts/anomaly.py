"""Tables of docs/results/anomaly.md: what is found of each damage, by whom, where, and how often in vain.

    python docs/scripts/anomaly.py CORPUS... --unseen FOLDER [--crops 16] [--dnsmos] [--out anomaly.json]

CORPUS are the folders that the detector was fitted to: speakers it held out for its calibration are not heard here by
the network. `--unseen` are speakers who took no part in anything.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from flowvocoder.anomaly import AnomalyDetector
from flowvocoder.anomaly.damages import DAMAGES, Clean, Damaged, damage, to_16_bit
from flowvocoder.anomaly.detector import LOCAL as LOCAL_KINDS
from flowvocoder.anomaly.examples import Corpus, crop
from flowvocoder.anomaly.features import voice
from flowvocoder.anomaly.fitting import Settings
from flowvocoder.anomaly.spans import find_spans
from flowvocoder.audio.files import Samples, read_as_stored
from flowvocoder.audio.resample import resample
from flowvocoder.errors import AudioError
from flowvocoder.progress import progress
from flowvocoder.vocoder import Vocoder

STRENGTHS = (0.0, 0.5, 1.0)
SECONDS = 4.0
CALIBRATED = (0.01, 0.02, 0.05, 0.1)
LOCAL = (
    "clicks",
    "packets lost, zeros",
    "packets lost, repeated",
    "packets lost, concealed",
    "splice",
    "clipping, hard",
)
SYSTEMS = ("detector", "flow", "likelihood", "mixture", "forest", "DNSMOS")
NAMES = {
    "detector": "the detector", "flow": "its flow alone, which has heard no damage", "likelihood": "raw likelihood",
    "mixture": "Gaussian mixture on mels", "forest": "isolation forest on mels", "DNSMOS": "DNSMOS",
}  # fmt: skip


class Rivals:
    """What else could be used: the higher the score, the more anomalous."""

    def __init__(self, corpus: Corpus, seed: int, crops: int = 120):
        rng = np.random.default_rng(seed)
        mels = [self.mel(one.samples, one.rate) for one in (crop(corpus, rng, SECONDS) for _ in range(crops))]
        self.mixture = GaussianMixture(16, covariance_type="diag", random_state=0).fit(np.concatenate(mels)[::3])
        self.forest = IsolationForest(n_estimators=200, random_state=0).fit([self.summary(mel) for mel in mels])

    @staticmethod
    def mel(samples: Samples, rate: int) -> np.ndarray:
        return voice().mel(torch.from_numpy(resample(samples, rate, voice().sample_rate)))[0].T.numpy()

    @staticmethod
    def summary(mel: np.ndarray) -> np.ndarray:
        return np.r_[mel.mean(0), mel.std(0)]

    def __call__(self, samples: Samples, rate: int, dnsmos: bool) -> dict[str, float]:
        mel = self.mel(samples, rate)
        audio = torch.from_numpy(resample(samples, rate, voice().sample_rate))
        found = {
            "likelihood": -float(voice().score(audio.clamp(-1.0, 1.0 - 2**-15))),
            "mixture": -float(self.mixture.score(mel)),
            "forest": -float(self.forest.score_samples([self.summary(mel)])[0]),
        }
        if dnsmos:
            from flowvocoder.evaluation.measures.opinion import _overall

            found["DNSMOS"] = -_overall(resample(samples, rate, 16000))
        return found


def add_voice(name: str, latency: float | None) -> None:
    """A damage that nobody has heard: the audio of a voice from the crop's mel, weak to strong alike."""
    spoken = Vocoder.from_pretrained(name)

    def apply(clean: Clean, strength: float, rng: np.random.Generator) -> Damaged:
        samples = resample(clean.samples, clean.rate, spoken.sample_rate)
        made = spoken.synthesize(
            spoken.mel_for(torch.from_numpy(samples)), seed=int(rng.integers(2**31)), latency_ms=latency
        )
        back = resample(np.asarray(made[0].numpy(), np.float32), spoken.sample_rate, clean.rate)
        return Damaged(back[: len(clean.samples)])

    damage(name if latency is None else f"{name}, {latency:g} ms", "vocoder")(apply)


def stretches(corpus: Corpus, count: int, rng: np.random.Generator) -> Iterator[Clean]:
    """Clean crops of about SECONDS, as they were recorded."""
    for _ in range(count):
        one = crop(corpus, rng, SECONDS, altered=False)
        yield one


def judged(detector: AnomalyDetector, samples: Samples, rate: int) -> tuple[dict[str, float], Any]:
    pieces = list(detector.pieces(samples, rate))
    verdict = detector.verdict(pieces)
    return {"detector": verdict.score, "flow": max(piece.novelty for piece in pieces)}, verdict


def errors(true: list[tuple[float, float]], found: list[Any]) -> list[tuple[float, float] | None]:
    """(onset, end) errors in seconds of each true span that a found one touches, within 50 ms; None: missed."""
    result: list[tuple[float, float] | None] = []
    for start, end in true:
        near = [s for s in found if s.start - 0.05 <= end and start <= s.end + 0.05]
        best = min(near, key=lambda s: abs(s.start - start) + abs(s.end - end), default=None)
        result.append(None if best is None else (abs(best.start - start), abs(best.end - end)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=Path)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--crops", type=int, default=6, help="of each damage and strength")
    parser.add_argument("--held-out", action="store_true", help="the speakers held out for calibration, not the unseen")
    parser.add_argument("--middle", action="store_true", help="only the middle strength")
    parser.add_argument(
        "--part", default="0/1", help="damages I of N, for several processes; --merge puts them together"
    )
    parser.add_argument("--merge", nargs="*", type=Path, default=[], help="files that --out wrote")
    parser.add_argument("--dnsmos", action="store_true", help="at the middle strength")
    parser.add_argument("--only", default="", help="damages whose name has this in it")
    parser.add_argument("--voices", nargs="*", default=[], metavar="VOICE[:MS]", help="only what these voices say")
    parser.add_argument("--alone", action="store_true", help="without the programs beside it")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    detector, settings = AnomalyDetector.load(arguments.detector), Settings()
    if arguments.merge:
        parts = [row for path in arguments.merge for row in json.loads(path.read_text())]
        rows = [row for row in parts if row["damage"]] + [
            r for r in json.loads(arguments.merge[0].read_text()) if not r["damage"]
        ]
        print(report(rows, list(DAMAGES)), calibration(detector, arguments.unseen), sep="\n\n")
        return
    for voice_name, _, latency in (one.partition(":") for one in arguments.voices):
        add_voice(voice_name, float(latency) if latency else None)
    known, held = Corpus.of(arguments.corpora).split(settings.held_out, settings.seed)
    unseen = Corpus.of([arguments.unseen])
    rivals = None if arguments.alone else Rivals(known, 0)
    rows: list[dict[str, Any]] = []

    def take(name: str, strength: float, one: Clean, rng: np.random.Generator) -> None:
        damaged = DAMAGES[name].apply(one, strength, rng) if name else None
        samples = to_16_bit(one.samples if damaged is None else damaged.samples)
        try:
            scores, verdict = judged(detector, samples, one.rate)
        except AudioError:
            return
        if rivals is not None:
            scores |= rivals(samples, one.rate, arguments.dnsmos and strength == 0.5)
        spans = [] if damaged is None or damaged.spans is None else damaged.spans
        located = [s for s in verdict.spans if s.kind in LOCAL_KINDS] or verdict.spans
        rows.append({
            "damage": name, "strength": strength, "scores": scores, "p": verdict.p_value,
            "kinds": [s.kind for s in verdict.spans], "errors": errors(spans, list(located)),
            "seconds": len(samples) / one.rate, "spans": len(verdict.spans),
        })  # fmt: skip

    part, parts_count = map(int, arguments.part.split("/"))
    names = [name for name in list(DAMAGES)[part::parts_count] if arguments.only in name]
    names = names[-len(arguments.voices) :] if arguments.voices else names
    heard = held if arguments.held_out else unseen
    strengths = STRENGTHS[1:2] if arguments.middle else STRENGTHS
    rng = np.random.default_rng(7)
    for one in stretches(heard, 4 * arguments.crops, rng):
        take("", 0.5, one, rng)
    for name in progress(names, "anomaly", "damage"):
        for strength in strengths:
            for one in stretches(heard, arguments.crops, np.random.default_rng(7)):
                take(name, strength, one, np.random.default_rng(len(rows)))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows))
    print(report(rows, names), calibration(detector, arguments.unseen), sep="\n\n")


def auroc(rows: list[dict[str, Any]], name: str, strength: float, system: str) -> float:
    clean = [r["scores"][system] for r in rows if not r["damage"] and system in r["scores"]]
    broken = [
        r["scores"][system] for r in rows if r["damage"] == name and r["strength"] == strength and system in r["scores"]
    ]
    if not clean or not broken:
        return float("nan")
    return float(roc_auc_score([0] * len(clean) + [1] * len(broken), clean + broken))


def called(rows: list[dict[str, Any]], name: str, share: float) -> float:
    """Part of the crops of a damage at the middle strength whose p-value is as small."""
    return float(np.mean([r["p"] <= share for r in rows if r["damage"] == name and r["strength"] == 0.5]))


def report(rows: list[dict[str, Any]], names: list[str]) -> str:
    lines = [
        "| damage | weak | middle | strong | found at .01 | at .05 | flow | likelihood | mixture | forest | DNSMOS |",
        "|---|" + "---|" * 10,
    ]
    for name in names:
        own = [auroc(rows, name, s, "detector") for s in STRENGTHS]
        others = [auroc(rows, name, 0.5, system) for system in SYSTEMS[1:]]
        found = [called(rows, name, share) for share in CALIBRATED[::2]]
        lines.append(f"| {name} | " + " | ".join(_number(x) for x in own + found + others) + " |")
    means = [np.mean([auroc(rows, n, s, "detector") for n in names]) for s in STRENGTHS]
    means += [np.mean([called(rows, n, share) for n in names]) for share in CALIBRATED[::2]]
    means += [np.mean([auroc(rows, n, 0.5, system) for n in names]) for system in SYSTEMS[1:]]
    lines += ["| **mean** | " + " | ".join(_number(x) for x in means) + " |", "", *_spans(rows)]
    return "\n".join(lines)


def _spans(rows: list[dict[str, Any]]) -> Iterator[str]:
    clean = [r for r in rows if not r["damage"]]
    hours = sum(r["seconds"] for r in clean) / 3600.0
    shares = ", ".join(f"{np.mean([r['p'] <= a for r in clean]):.3f} at {a}" for a in CALIBRATED)
    yield f"clean: {len(clean)} crops, {60 * hours:.1f} min, {sum(r['spans'] for r in clean)} spans; called: {shares}"
    yield "| damage | found, weak | middle | strong | onset, ms | end, ms | named so |"
    yield "|---|---|---|---|---|---|---|"
    for name in LOCAL:
        here = [r for r in rows if r["damage"] == name]
        found = [[e for r in here if r["strength"] == s for e in r["errors"]] for s in STRENGTHS]
        hit = [e for es in found for e in es if e is not None]
        recall = [f"{np.mean([e is not None for e in es]):.2f}" if es else "" for es in found]
        kinds = [k for r in here for k in r["kinds"]]
        right = np.mean([k == DAMAGES[name].kind for k in kinds]) if kinds else float("nan")
        onset, end = (1000 * np.median([e[i] for e in hit]) if hit else float("nan") for i in (0, 1))
        yield f"| {name} | {' | '.join(recall)} | {onset:.0f} | {end:.0f} | {right:.2f} |"


def calibration(detector: AnomalyDetector, folder: Path) -> str:
    """False alarms asked for and found, in crops of 4 s of speakers never heard."""
    found: dict[float, list[bool]] = {share: [] for share in CALIBRATED}
    spans, seconds = dict.fromkeys(CALIBRATED, 0), 0.0
    for file in sorted(folder.rglob("*.flac")):
        audio = read_as_stored(file)
        length = round(4.0 * audio.sample_rate)
        for first in range(0, max(1, len(audio.samples) - length // 2), length):
            part = audio.samples[first : first + length]
            seconds += len(part) / audio.sample_rate
            (piece,) = detector.pieces(part, audio.sample_rate)
            for share in CALIBRATED:
                found[share].append(detector.calibration.p_value(piece.score) <= share)
                threshold = detector.calibration.threshold(share)
                spans[share] += len(find_spans(piece.frames, threshold))
    lines = [f"{folder.name}: {seconds / 60:.1f} min, {len(found[CALIBRATED[0]])} crops of 4 s"]
    lines += ["| asked | crops called anomalous | spans an hour |", "|---|---|---|"]
    lines += [f"| {a} | {np.mean(found[a]):.3f} | {spans[a] * 3600 / seconds:.0f} |" for a in CALIBRATED]
    return "\n".join(lines)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
