"""`stream-resynth`: audio to mel to audio, from pipe to pipe."""

import argparse

from flowvocoder.cli.command import Command
from flowvocoder.cli.options import add_checkpoint, add_chunk, add_engine, add_sampling
from flowvocoder.cli.pipe import stream_audio


def options(parser: argparse.ArgumentParser) -> None:
    add_chunk(parser)
    add_checkpoint(parser, files=False)
    add_engine(parser, "onnx")
    add_sampling(parser)


COMMAND = Command("stream-resynth", "vocode from pipe to pipe: PCM16 in, PCM16 out", options, stream_audio)
