"""mel, synth, stream-resynth, resynth, encode, decode, score, info."""

import argparse
from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, checkpoint, chunk, engine, sampling, seed

DENOISER_MODES = ("silence", "reference", "normal")


def add(commands: Commands) -> None:
    mel = add_command(commands, "mel", "audio to a mel spectrogram (.npy, its spec in .npy.json)", "speech", "mel")
    mel.add_argument("input", metavar="IN", type=Path, help="recording")
    mel.add_argument("output", metavar="OUT.npy", type=Path)
    mel.add_argument("--convention", help="a named convention instead of the checkpoint's: tacotron2, hifigan, ...")
    checkpoint(mel)

    synth = add_command(commands, "synth", "mel spectrograms to audio", "synth", "synth")
    synth.add_argument("paths", metavar="PATH", nargs="*",
                       help="mel files, folders of them or globs, then OUT.wav for one mel, else a folder")  # fmt: skip
    synth.add_argument("--stream", action="store_true",
                       help="no PATH: float32 frames from standard input, PCM16 to standard output")  # fmt: skip
    synth.add_argument("--force", action="store_true", help="also where the output is there already (several mels)")
    synth.add_argument("--trust-mel", action="store_true", help="skip the plausibility check of mels without a spec")
    chunk(synth)
    denoising(synth)
    checkpoint(synth)
    engine(synth, "onnx")
    sampling(synth)

    resynth_pipe = add_command(
        commands,
        "stream-resynth",
        "audio to mel to audio from pipe to pipe: PCM16 in, PCM16 out",
        "pipe",
        "stream_audio",
    )
    chunk(resynth_pipe)
    checkpoint(resynth_pipe)
    engine(resynth_pipe)
    sampling(resynth_pipe)

    resynth = add_command(commands, "resynth", "audio to mel to audio, of the same length", "speech", "resynth")
    resynth.add_argument("input", metavar="IN", type=Path, help="recording")
    resynth.add_argument("output", metavar="OUT.wav", type=Path)
    resynth.add_argument("--picture", metavar="PNG", type=Path, help="also draw both spectrograms and the difference")
    denoising(resynth)
    checkpoint(resynth)
    engine(resynth)
    sampling(resynth)

    encode = add_command(commands, "encode", "audio to the flow's noise", "latent", "encode")
    encode.add_argument("input", metavar="IN", type=Path, help="recording")
    encode.add_argument("output", metavar="OUT.npz", type=Path)
    checkpoint(encode)

    decode = add_command(commands, "decode", "noise back to audio", "latent", "decode")
    decode.add_argument("input", metavar="IN.npz", type=Path, help="what `encode` wrote")
    decode.add_argument("output", metavar="OUT.wav", type=Path)
    checkpoint(decode)

    score = add_command(
        commands, "score", "exact likelihood of recordings: nats and bits per sample", "speech", "score"
    )
    score.add_argument("files", metavar="FILE", nargs="+", type=Path)
    score.add_argument("--json", action="store_true", help="a JSON list of file, nats_per_sample, bits_per_sample")
    score.add_argument("--mel-from", metavar="FILE", type=Path, help="condition on another recording's mel")
    score.add_argument("--seed", type=seed, default=0, help="of the dequantisation noise (default 0)")
    checkpoint(score)

    info = add_command(commands, "info", "what a checkpoint is: architecture, mel, licence, metrics", "info", "info")
    info.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", type=Path, help="default: the bundled voice")
    info.add_argument("--json", action="store_true", help="as JSON")


def denoising(command: argparse.ArgumentParser) -> None:
    """--denoise and --denoise-mode."""
    strength = "subtract the model's own hum so many times: 0.1 is usual (default 0, not at all)"
    mode = "mel that the hum is measured with: digital silence (default), 0, or normal numbers"
    command.add_argument("--denoise", metavar="STRENGTH", type=float, default=0.0, help=strength)
    command.add_argument("--denoise-mode", choices=DENOISER_MODES, default="silence", help=mode)
