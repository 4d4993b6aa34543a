"""Recordings of any length and format as a corpus of sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flowvocoder.audio.files import Samples, write_audio
from flowvocoder.data.corpus import find_utterances
from flowvocoder.errors import AudioError, DataError, together
from flowvocoder.extras import librosa
from flowvocoder.files import writing_folder
from flowvocoder.units import ceil_div, seconds

LONGEST = 8.0
"""Seconds of a sentence: longer speech is cut at its pauses, or where it has none, anywhere."""

PAUSE_DB = 40.0
"""What lies further below the loudest frame is a pause."""

FEWEST = 5.0
"""Seconds of speech below which nothing is learned that will be true of the next sentence."""


def cut_recordings(sources: Sequence[Path], out: Path, sample_rate: int, segment: int) -> float:
    """Write the speech of folders, manifests and files to `out/*.flac`, cut at pauses, at one rate; its seconds.

    Args:
        segment: samples below which a piece is left out.

    Raises:
        AudioError, DataError: a source cannot be read, or there is less than `FEWEST` seconds of speech, or one
            sentence alone.
        OutputError: `out` cannot be written.
    """
    total, pieces, errors = 0, 0, []
    with writing_folder(out) as folder:
        for number, (path, samples) in enumerate(_read(sources, sample_rate)):
            if isinstance(samples, AudioError):
                errors.append(samples)
                continue
            for piece, speech in enumerate(sentences(samples, sample_rate)):
                if len(speech) >= segment:
                    write_audio(folder / f"{number:04d}-{path.stem[:60]}-{piece:03d}.flac", speech, sample_rate)
                    total, pieces = total + len(speech), pieces + 1
        if errors:
            raise together(errors, f"of {number + 1} recordings cannot be used")
        if total < FEWEST * sample_rate:
            have = seconds(total, sample_rate)
            raise DataError(
                f"{', '.join(map(str, sources))}: {have:.1f} s of speech are too few, {FEWEST:g} s are needed"
            )
        if pieces < 2:
            raise DataError(f"{', '.join(map(str, sources))}: is one sentence: two are needed, one to hold out")
    return seconds(total, sample_rate)


def sentences(samples: Samples, sample_rate: int) -> Iterator[Samples]:
    """The speech (T,) between pauses, neighbours joined with their pause as long as they stay below `LONGEST`."""
    longest = int(LONGEST * sample_rate)
    begin = end = None
    for first, last in librosa().effects.split(samples, top_db=PAUSE_DB, frame_length=1024, hop_length=256):
        if begin is not None and last - begin > longest:
            yield from _parts(samples[begin:end], longest)
            begin = None
        begin, end = first if begin is None else begin, last
    if begin is not None:
        yield from _parts(samples[begin:end], longest)


def _parts(samples: Samples, longest: int) -> list[Samples]:
    return np.array_split(samples, ceil_div(len(samples), longest))


def _read(sources: Sequence[Path], sample_rate: int) -> Iterator[tuple[Path, Samples | AudioError]]:
    for source in sources:
        for utterance in find_utterances(source):
            try:
                yield utterance.path, utterance.read(sample_rate)
            except AudioError as error:
                yield utterance.path, error
