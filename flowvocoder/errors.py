"""Every error that is the user's to fix. The command line prints its one sentence and exits with code 2."""

from collections.abc import Callable, Sequence
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

LONGEST = 400
"""Characters of a message on a terminal."""


def one_line(text: str) -> str:
    """A message as a terminal may show it: control characters escaped, its middle left out where it is long.

    >>> one_line("a\\x1b[31m\\nb.wav: no such file")
    'a\\\\x1b[31m\\\\nb.wav: no such file'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]} ... {shown[-LONGEST // 2 :]}"


class FlowVocoderError(Exception):
    """Bad input or a state the user can mend; the message is one sentence that names the file and the numbers."""


MOST_NOTES = 1000
"""Errors that one error holds."""


def together(errors: Sequence[FlowVocoderError], what: str) -> FlowVocoderError:
    """One error for several: the only one as it is, else one of the first's kind that has them as its notes.

    Args:
        what: completes the sentence that begins with their number.

    Example:
        >>> error = together([AudioError("a.wav: is empty"), AudioError("b.wav: is empty")], "of 9 recordings are bad")
        >>> str(error), error.__notes__
        ('2 of 9 recordings are bad', ['a.wav: is empty', 'b.wav: is empty'])
    """
    if len(errors) == 1:
        return errors[0]
    all_of_them = type(errors[0])(f"{len(errors)} {what}")
    for error in errors[:MOST_NOTES]:
        all_of_them.add_note(str(error))
    return all_of_them


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """What two steps give; where both fail, one error with the words and notes of both."""
    try:
        result = first()
    except FlowVocoderError as error:
        try:
            second()
        except FlowVocoderError as other:
            joined = type(error)(f"{error}; {other}")
            for one in (error, other):
                for note in getattr(one, "__notes__", ()):
                    joined.add_note(note)
            raise joined from error
        raise
    return result, second()


class AudioError(FlowVocoderError):
    """A recording cannot be read, is too short, or holds values that are no audio."""


class DataError(FlowVocoderError):
    """A manifest or a folder of shards cannot be read, or is not what it should be."""


class DensityError(FlowVocoderError, ValueError):
    """Rows that no density can be fitted to, or that are not of the kind it was fitted to."""


class MelError(FlowVocoderError):
    """A mel spectrogram cannot be read, or is not what the model was trained on."""


class AcousticError(MelError):
    """An acoustic model fails on a text, or gives no mel of its convention: whoever runs it can mend that alone."""


class ImplausibleMelError(MelError):
    """A mel without a spec does not look like the kind the model was trained on."""


class ClippedWarning(UserWarning):
    """More than a few samples of synthesised audio are above full scale."""


class CheckpointError(FlowVocoderError):
    """A checkpoint is missing, truncated, altered, or of a newer format."""


class ConfigError(FlowVocoderError):
    """An unknown preset, key or value."""


class OutputError(FlowVocoderError):
    """A result cannot be written."""


class TrainingError(FlowVocoderError):
    """A run cannot go on; what it saved last is still there."""
