"""`resynth`: audio to mel to audio."""

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import (
    check_not_input,
    check_output,
    iterations,
    load_denoiser,
    load_vocoder,
    read_recording,
    write_speech,
)
from flowvocoder.cli.options import add_checkpoint, add_denoiser, add_engine, add_sampling
from flowvocoder.errors import MelError

if TYPE_CHECKING:
    import torch

    from flowvocoder.vocoder import Vocoder


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", type=Path, help="recording")
    parser.add_argument("output", metavar="OUT.wav", type=Path, help="audio of the same length, .wav or .flac")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="plot both spectrograms and their difference")
    add_denoiser(parser)
    add_checkpoint(parser)
    add_engine(parser)
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """IN -> mel -> OUT.wav of the same length."""
    import torch

    from flowvocoder.audio.plots import save_pair

    check_output(arguments.output, (".wav", ".flac"))
    check_not_input(arguments.output, arguments.input)
    if arguments.plot:
        check_output(arguments.plot, (".png",))
        check_not_input(arguments.plot, arguments.input)
    given = iterations(arguments)
    vocoder = load_vocoder(arguments)
    denoise = load_denoiser(arguments, vocoder)
    recording = read_recording(arguments.input, vocoder.spec)
    audio = torch.from_numpy(recording.samples)
    mel = vocoder.mel_for(audio)
    # Not a part of synthesis, but done once for any number of recordings: folding, and what PyTorch does at first use.
    vocoder.synthesize(mel[..., :32], seed=arguments.seed, **given)
    started = time.perf_counter()
    try:
        synthesised = vocoder.synthesize(mel, arguments.temperature, seed=arguments.seed, **given)
        vocoded = denoise(synthesised)[0, : len(audio)].cpu()
    except MelError as error:
        raise MelError(f"{arguments.input}: {error}") from error
    elapsed = time.perf_counter() - started
    write_speech(arguments.output, [vocoded.numpy()], vocoder.sample_rate)
    if arguments.plot:
        save_pair(arguments.plot, recording.samples, vocoded.numpy(), vocoder.sample_rate)
        print(f"{arguments.plot}: recording, vocoded, difference")
    if arguments.denoise:
        _report_tones(vocoder, synthesised[0, : len(audio)].cpu(), vocoded)
    length = len(audio) / vocoder.sample_rate
    distance = float((vocoder.mel(vocoded) - vocoder.mel(audio)).abs().mean())
    print(f"{arguments.output}: {length:.2f} s, {length / elapsed:.1f} x real time on {torch.get_num_threads()}"
          f" thread(s), mel distance {distance:.3f}")  # fmt: skip
    return 0


def _report_tones(vocoder: "Vocoder", before: "torch.Tensor", after: "torch.Tensor") -> None:
    """What the denoiser did to the block-rate tones, if the model has blocks."""
    from flowvocoder.evaluation import measure_block_tones

    period = vocoder.model.block
    tones = [measure_block_tones(audio.numpy(), vocoder.sample_rate, period).mean for audio in (before, after)]
    if all(map(math.isfinite, tones)):
        spacing = vocoder.sample_rate / period
        print(f"block-rate tones, every {spacing:.0f} Hz: {tones[0]:.2f} dB above the spectrum beside them,"
              f" denoised {tones[1]:.2f} dB")  # fmt: skip


COMMAND = Command("resynth", "vocode a recording: audio to mel to audio", options, run)
