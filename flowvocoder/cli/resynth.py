"""`resynth`: audio to mel to audio."""

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.bulk import AUDIO_OUT, Convert, add_paths, convert_files, recordings_to
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import (
    as_array,
    check_not_input,
    check_output,
    iterations,
    load_denoiser,
    load_vocoder,
    read_recording,
    write_speech,
)
from flowvocoder.cli.options import add_checkpoint, add_denoiser, add_engine, add_sampling
from flowvocoder.errors import ConfigError, MelError

if TYPE_CHECKING:
    from flowvocoder.audio.files import Samples
    from flowvocoder.vocoder import Vocoder


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "recording", "OUT.wav")
    parser.add_argument("--plot", metavar="PNG", type=Path,
                        help="plot both spectrograms and their difference, of one recording")  # fmt: skip
    add_denoiser(parser)
    add_checkpoint(parser)
    add_engine(parser, "onnx")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Each recording -> mel -> audio of the same length."""
    return convert_files(arguments, recordings_to(*AUDIO_OUT), _resynthesizer)


def _resynthesizer(arguments: argparse.Namespace, several: bool) -> Convert:
    import numpy as np

    if arguments.plot:
        if several:
            raise ConfigError("--plot is of one recording: not with several")
        check_output(arguments.plot, (".png",))
        check_not_input([arguments.plot], [Path(arguments.paths[0])])
    given = {**iterations(arguments), "trust_mel": True}
    vocoder = load_vocoder(arguments)
    denoise = load_denoiser(arguments, vocoder)
    # Not a part of synthesis, but done once for any number of recordings: folding, and what PyTorch does at first use.
    silence = vocoder.mel_for(np.zeros(32 * vocoder.spec.hop_length + vocoder.spec.n_fft, np.float32))
    vocoder.synthesize(silence, seed=arguments.seed, **given)

    def resynthesize(recording: Path, output: Path) -> str:
        samples = read_recording(recording, vocoder.spec).samples
        mel = vocoder.mel_for(samples)
        started = time.perf_counter()
        try:
            synthesised = vocoder.synthesize(mel, arguments.temperature, seed=arguments.seed, **given)
            vocoded = as_array(denoise(synthesised))[0, : len(samples)]
        except MelError as error:
            raise MelError(f"{recording}: {error}") from error
        elapsed = time.perf_counter() - started
        write_speech(output, [vocoded], vocoder.sample_rate)
        said = []
        if arguments.plot:
            from flowvocoder.audio.plots import save_pair

            save_pair(arguments.plot, samples, vocoded, vocoder.sample_rate)
            said.append(f"{arguments.plot}: recording, vocoded, difference")
        if arguments.denoise:
            said += _tones(vocoder, as_array(synthesised)[0, : len(samples)], vocoded)
        length = len(samples) / vocoder.sample_rate
        distance = np.abs(as_array(vocoder.mel(vocoded)) - as_array(vocoder.mel(samples))).mean()
        speed = f"{length / elapsed:.1f} x real time by {vocoder.engine} on {arguments.threads} thread(s)"
        return "\n".join([*said, f"{output}: {length:.2f} s, {speed}, mel distance {distance:.3f}"])

    return resynthesize


def _tones(vocoder: "Vocoder", before: "Samples", after: "Samples") -> list[str]:
    """What the denoiser did to the block-rate tones, if the model has blocks."""
    from flowvocoder.evaluation import measure_block_tones

    period = vocoder.model.block
    tones = [measure_block_tones(audio, vocoder.sample_rate, period).mean for audio in (before, after)]
    if not all(map(math.isfinite, tones)):
        return []
    return [f"block-rate tones, every {vocoder.sample_rate / period:.0f} Hz: {tones[0]:.2f} dB above the spectrum"
            f" beside them, denoised {tones[1]:.2f} dB"]  # fmt: skip


COMMAND = Command("resynth", "vocode recordings: audio to mel to audio of the same length", options, run)
