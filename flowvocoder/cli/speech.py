"""`mel`, `resynth` and `score`."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flowvocoder.audio.plots import save_pair
from flowvocoder.cli.common import (
    check_match,
    check_output,
    load_denoiser,
    load_vocoder,
    read_recording,
    set_machine,
    write_speech,
)
from flowvocoder.errors import AudioError, MelError
from flowvocoder.evaluation import measure_hum
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.progress import progress
from flowvocoder.units import bits_per_sample
from flowvocoder.vocoder import Vocoder


def mel(arguments: argparse.Namespace) -> int:
    """IN -> OUT.npy, in the checkpoint's convention or the one named."""
    check_output(arguments.output, (".npy",))
    if arguments.convention:
        device, spec = set_machine(arguments), convention(arguments.convention)
        front_end: Callable[[torch.Tensor], torch.Tensor] = MelFrontEnd(spec).to(device)
    else:
        vocoder = load_vocoder(arguments)
        device, spec, front_end = vocoder.device, vocoder.spec, vocoder.mel
    audio = torch.from_numpy(read_recording(arguments.input, spec).samples)
    values = front_end(audio[None].to(device))[0]
    write_mel(arguments.output, values.cpu().numpy(), spec)
    print(f"{arguments.output}: {values.shape[0]} bands x {values.shape[1]} frames, {spec.name()}")
    return 0


def resynth(arguments: argparse.Namespace) -> int:
    """IN -> mel -> OUT.wav of the same length."""
    check_output(arguments.output, (".wav", ".flac"))
    if arguments.picture:
        check_output(arguments.picture, (".png",))
    check_match(arguments.match, arguments.low_match)
    vocoder = load_vocoder(arguments)
    denoise = load_denoiser(arguments, vocoder)
    recording = read_recording(arguments.input, vocoder.spec)
    audio = torch.from_numpy(recording.samples)
    mel = vocoder.mel_for(audio)
    # Not a part of synthesis, but done once for any number of recordings: folding, and what PyTorch does at first use.
    passes = {"match": arguments.match, "low_match": arguments.low_match}
    vocoder.synthesize(mel[..., :32], seed=arguments.seed, **passes)
    started = time.perf_counter()
    try:
        synthesised = vocoder.synthesize(mel, arguments.temperature, seed=arguments.seed, **passes)
        vocoded = denoise(synthesised)[0, : len(audio)].cpu()
    except MelError as error:
        raise MelError(f"{arguments.input}: {error}") from error
    elapsed = time.perf_counter() - started
    write_speech(arguments.output, vocoded.numpy(), vocoder.sample_rate)
    if arguments.picture:
        save_pair(arguments.picture, recording.samples, vocoded.numpy(), vocoder.sample_rate)
        print(f"{arguments.picture}: recording, vocoded, difference")
    if arguments.denoise:
        _report_hum(vocoder, synthesised[0, : len(audio)].cpu(), vocoded)
    length = len(audio) / vocoder.sample_rate
    distance = float((vocoder.mel(vocoded) - vocoder.mel(audio)).abs().mean())
    print(f"{arguments.output}: {length:.2f} s, {length / elapsed:.1f} x real time on {torch.get_num_threads()}"
          f" thread(s), mel distance {distance:.3f}")  # fmt: skip
    return 0


def _report_hum(vocoder: Vocoder, before: torch.Tensor, after: torch.Tensor) -> None:
    """What the denoiser did to the tones that the model's blocks leave, if it has blocks."""
    period = vocoder.model.block
    tones = [measure_hum(audio.numpy(), vocoder.sample_rate, period).mean for audio in (before, after)]
    if all(map(math.isfinite, tones)):
        spacing = vocoder.sample_rate / period
        print(f"hum: tones every {spacing:.0f} Hz stand {tones[0]:.2f} dB above the spectrum beside them,"
              f" denoised {tones[1]:.2f} dB")  # fmt: skip


def score(arguments: argparse.Namespace) -> int:
    """Nats and bits per sample of each file; a file that cannot be scored is named and the others go on."""
    vocoder = load_vocoder(arguments)
    foreign = None
    if arguments.mel_from:
        foreign = vocoder.mel(torch.from_numpy(read_recording(arguments.mel_from, vocoder.spec).samples))
    rows: list[dict[str, Any]] = []
    for path in progress(arguments.files, "score", "file"):
        try:
            nats = _score_one(path, vocoder, foreign, arguments)
        except AudioError as error:
            print(f"flowvocoder: {error}", file=sys.stderr)
            continue
        rows.append({"file": str(path), "nats_per_sample": nats, "bits_per_sample": bits_per_sample(nats)})
        if not arguments.json:
            print(f"{path}: {nats:.4f} nats/sample, {bits_per_sample(nats):.4f} bits/sample", flush=True)
    if arguments.json and rows:
        print(json.dumps(rows, indent=2))
    elif len(rows) > 1:
        mean = sum(r["nats_per_sample"] for r in rows) / len(rows)
        print(f"mean of {len(rows)} files: {mean:.4f} nats/sample, {bits_per_sample(mean):.4f} bits/sample")
    return 0 if len(rows) == len(arguments.files) else 2


def _score_one(path: Path, vocoder: Vocoder, foreign: torch.Tensor | None, arguments: argparse.Namespace) -> float:
    audio = torch.from_numpy(read_recording(path, vocoder.spec).samples)
    frames = len(audio) // vocoder.spec.hop_length
    if foreign is not None and foreign.shape[-1] < frames:
        raise AudioError(f"{path}: {frames} frames are more than the {foreign.shape[-1]} of {arguments.mel_from}")
    return float(vocoder.score(audio, None if foreign is None else foreign[..., :frames], arguments.seed))
