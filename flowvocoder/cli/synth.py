"""`synth`: mel files to audio."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flowvocoder.cli.bulk import AUDIO_OUT, Formats, Job, add_paths, convert_files, one_by_one
from flowvocoder.cli.command import Command
from flowvocoder.cli.common import (
    as_array,
    iterations,
    load_denoiser,
    load_vocoder,
    say_clipped,
    voices_for,
    write_speech,
)
from flowvocoder.cli.options import add_checkpoint, add_chunk, add_denoiser, add_engine, add_sampling, draws
from flowvocoder.cli.pipe import stream_mel
from flowvocoder.errors import ConfigError, ImplausibleMelError, MelError
from flowvocoder.extras import torch_is_there
from flowvocoder.units import seconds

if TYPE_CHECKING:
    import torch

    from flowvocoder.audio.files import Samples
    from flowvocoder.mel.arrays import Array
    from flowvocoder.mel.files import Mel
    from flowvocoder.mel.spec import MelSpec
    from flowvocoder.mel.toolkits import Toolkit
    from flowvocoder.vocoder import Vocoder

    Voice: TypeAlias = tuple[Vocoder, Callable[[torch.Tensor], torch.Tensor] | None]
    Source: TypeAlias = tuple[Toolkit, MelSpec | None]


def formats() -> Formats:
    """Imports numpy."""
    from flowvocoder.mel import arrays, shards

    return Formats("mel", arrays.SUFFIXES, AUDIO_OUT, shards.SUFFIXES)


def options(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "mel", "OUT.wav", "*")
    parser.add_argument("--stream", action="store_true",
                        help="no PATH: float32 frames from standard input, PCM16 to standard output")  # fmt: skip
    parser.add_argument("--trust-mel", action="store_true",
                        help="take mels whatever they look like, and whatever spec is beside them")  # fmt: skip
    parser.add_argument("--convention", help="of mels without a spec beside them: hifigan, coqui, ... "
                        "(default: the checkpoint's); `info` lists those that a checkpoint takes")  # fmt: skip
    parser.add_argument("--best-of", metavar="N", type=draws, default=1,
                        help="draw with N seeds from --seed on, and keep the one whose mel is nearest")  # fmt: skip
    add_chunk(parser)
    add_denoiser(parser)
    add_checkpoint(parser)
    add_engine(parser, "onnx")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """One mel to OUT.wav, a folder, glob or several files to a folder of .wav, or a pipe to a pipe."""
    if arguments.stream and arguments.best_of > 1:
        raise ConfigError("--best-of compares whole utterances: not with --stream")
    if _last(arguments) >= 2**63:
        raise ConfigError(f"--best-of {arguments.best_of} from --seed {arguments.seed} on passes the last, 2^63 - 1")
    if arguments.stream:
        return stream_mel(arguments)
    if len(arguments.paths) < 2:
        raise MelError("synth needs a mel and where to put the audio: MEL.npy OUT.wav (or --stream)")
    return convert_files(arguments, formats(), _Synthesizer, _batches)


def _batches(arguments: argparse.Namespace, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
    """On a GPU, mels of about the same length. On a CPU each alone: it is no slower from a second on, and the samples
    are the same whatever else is in the folder."""
    if arguments.device == "cpu" or arguments.best_of > 1 or arguments.denoise or _without_torch(arguments):
        return one_by_one(arguments, jobs)
    from flowvocoder.batches import buckets

    shards, mels = ([job for job in jobs if formats().is_shard(job.input) is kind] for kind in (True, False))
    return [*one_by_one(arguments, shards), *buckets(mels, lambda job: _size(job.input))]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0  # reading it says what is wrong


class _Synthesizer:
    """Writes the audio of mels."""

    def __init__(self, arguments: argparse.Namespace, several: bool):
        self._voice, self._arguments = _load(arguments), arguments

    def __call__(self, mel: Path, output: Path) -> str:
        write = _shard if formats().is_shard(mel) else _one
        return f"{output}: {write(self._voice, mel, output, self._arguments)}"

    def together(self, jobs: Sequence[Job]) -> None:
        """Several mels at once, those of each convention. Raises FlowVocoderError before anything is written."""
        from flowvocoder.batches import together

        vocoder, arguments = self._voice[0], self._arguments
        read: dict[MelSpec, list[tuple[Job, Mel]]] = {}
        for job in jobs:
            mel, source = _read(job.input, vocoder.spec, arguments)
            read.setdefault(source[0].spec, []).append((job, mel))
        spoken: list[tuple[Job, Samples]] = []
        for spec, found in read.items():
            alike, mels = zip(*found, strict=True)
            given = {**iterations(arguments), "trust_mel": True, "convention": spec}  # checked when it was read
            seeds = [arguments.seed] * len(mels)
            spoken += zip(alike, together(vocoder, mels, seeds, arguments.temperature, **given), strict=True)
        for job, audio in spoken:
            write_speech(job.output, [audio], vocoder.sample_rate)


def _load(arguments: argparse.Namespace) -> "Voice":
    """The engine that synthesises, and what --denoise does to its audio: None where nothing."""
    iterations(arguments)  # impossible numbers are refused before anything is loaded
    vocoder = load_vocoder(arguments)
    denoise = load_denoiser(arguments, vocoder)
    return vocoder, denoise if arguments.denoise else None


def _one(voice: "Voice", mel_file: Path, output: Path, arguments: argparse.Namespace) -> str:
    """Returns what is said of it: the duration."""
    vocoder = voice[0]
    mel, source = _read(mel_file, vocoder.spec, arguments)
    with _naming(mel_file):
        chosen, pieces = _speech(voice, mel, source, arguments)
        write_speech(output, pieces, vocoder.sample_rate)
    said = f"{seconds(mel.shape[1] * vocoder.spec.hop_length, vocoder.sample_rate):.2f} s"
    return said if arguments.best_of == 1 else f"{said}, seed {chosen} of {arguments.seed} to {_last(arguments)}"


def _read(mel_file: Path, wanted: "MelSpec", arguments: argparse.Namespace) -> "tuple[Mel, Source]":
    """A mel (n_mels, F), and whose it is. Raises MelError."""
    from flowvocoder.mel.arrays import read_array

    source = _source(mel_file, wanted, arguments)
    mapped = _without_torch(arguments)  # which warns of arrays that cannot be written into
    return _checked(read_array(mel_file, mapped=mapped), mel_file, source, arguments), source


def _shard(voice: "Voice", mels: Path, output: Path, arguments: argparse.Namespace) -> str:
    """Returns how many recordings there are. Raises MelError when they are written, if there are mels without."""
    import numpy as np

    from flowvocoder.audio.files import encode_audio
    from flowvocoder.mel.shards import speak_shard

    vocoder = voice[0]
    source = _source(mels, vocoder.spec, arguments)
    clipped = total = 0

    def speak(array: "Array", where: Path) -> bytes:
        nonlocal clipped, total
        mel = _checked(array, where, source, arguments)
        with _naming(where):
            speech = np.concatenate(list(_speech(voice, mel, source, arguments)[1]))
        content, _, over = encode_audio(speech, vocoder.sample_rate, "wav")
        clipped, total = clipped + over, total + len(speech)
        return content

    written, refused = speak_shard(mels, output, speak)
    say_clipped(str(output), clipped, total)
    if refused:
        count = f"{len(refused)} of {len(refused) + written} mels are not in {output}"
        raise MelError(f"{count}: {'; '.join(refused[:3])}{'; ...' * (len(refused) > 3)}")
    return f"{written} recordings"


def _checked(array: "Array", where: Path, source: "Source", arguments: argparse.Namespace) -> "Mel":
    """A mel (n_mels, F) of the source's spec."""
    from flowvocoder.mel.files import checked

    toolkit, stated = source
    try:
        return checked(array, where, toolkit.spec, stated, arguments.trust_mel, undo=toolkit.undo)
    except ImplausibleMelError as error:
        raise MelError(f"{error} (--trust-mel synthesises it anyway)") from error
    except MelError as error:
        bands = array.shape[-2] if array.ndim > 1 and toolkit.spec.n_mels not in array.shape else 0
        raise MelError(f"{error}{_voice_for(lambda mel: bool(mel['n_mels'] == bands))}") from error


def _speech(
    voice: "Voice", mel: "Mel", source: "Source", arguments: argparse.Namespace
) -> "tuple[int, Iterator[Samples]]":
    """The seed, and the audio in pieces (T,)."""
    vocoder, denoise = voice
    given = {**iterations(arguments), "trust_mel": True, "convention": source[0].spec}  # checked when it was read
    chosen = arguments.seed if arguments.best_of == 1 else _best(vocoder, mel, given, arguments)
    pieces = vocoder.synthesize_pieces(mel, arguments.temperature, seed=chosen, **given)
    if denoise is not None:
        import torch

        pieces = iter([denoise(torch.cat(list(pieces), 1))])
    return chosen, (as_array(piece)[0] for piece in pieces)


@contextlib.contextmanager
def _naming(mel_file: Path) -> Iterator[None]:
    """Puts the file into what is said of its mel."""
    try:
        yield
    except MelError as error:
        raise MelError(f"{mel_file}: {error}") from error


def _best(vocoder: "Vocoder", mel: "Mel", given: dict[str, Any], arguments: argparse.Namespace) -> int:
    """The seed whose audio has the mel nearest to the one given. Raises MelError: of another convention."""
    import numpy as np

    if given["convention"] != vocoder.spec:
        raise MelError(f"--best-of compares mels of the voice's own convention, {vocoder.spec.name()}, only")

    def distance(number: int) -> float:
        audio = vocoder.synthesize(mel, arguments.temperature, seed=number, **given)
        return float(np.abs(as_array(vocoder.mel_for(audio))[0] - mel).mean())

    return min(range(arguments.seed, _last(arguments) + 1), key=distance)


def _last(arguments: argparse.Namespace) -> int:
    return int(arguments.seed + arguments.best_of - 1)


def _source(mel_file: Path, wanted: "MelSpec", arguments: argparse.Namespace) -> "Source":
    """Whose numbers a mel file holds, as it says itself, as --convention says, or the voice's own; and what it says.

    Raises:
        MelError: the two differ, or the voice cannot serve it.
    """
    from flowvocoder.mel.files import spec_beside
    from flowvocoder.mel.toolkits import Toolkit, toolkit

    beside = None if arguments.trust_mel else spec_beside(mel_file)
    source = toolkit(arguments.convention) if arguments.convention else Toolkit(beside or wanted)
    if beside is not None and source.spec != beside:
        difference = beside.difference(source.spec)
        raise MelError(f"{mel_file}: is a {beside.name()} mel, --convention says {arguments.convention}: {difference}")
    with _naming(mel_file):
        if _without_torch(arguments):
            from flowvocoder.runtime.vocoder import same_convention

            same_convention(source.spec, wanted)
        else:
            from flowvocoder.mel.conversion import MelConversion

            try:
                MelConversion(source, wanted)
            except MelError as error:
                raise MelError(f"{error}{_voice_for(lambda mel: mel == source.spec.to_dict())}") from error
    return source if beside is None else Toolkit(beside), beside


def _voice_for(wants: "Callable[[dict[str, Any]], bool]") -> str:
    """Which of the voices at hand has such a mel, as the end of a sentence; nothing where none does."""
    name = next(iter(voices_for(wants)), None)
    return "" if name is None else f"; the voice {name} takes it: --checkpoint {name}"


def _without_torch(arguments: argparse.Namespace) -> bool:
    return arguments.engine == "onnx" or not torch_is_there()


COMMAND = Command("synth", "mel spectrograms to audio", options, run)
