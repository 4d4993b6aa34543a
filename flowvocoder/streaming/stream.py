"""One utterance as its frames come in."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowvocoder.errors import MelError
from flowvocoder.inference import without_gradients
from flowvocoder.mel.spec import MelSpec
from flowvocoder.streaming.session import Session
from flowvocoder.units import seconds

Check = Callable[[Tensor], Tensor]


class Stream:
    """What `Vocoder.stream` gives: `push` frames, get samples, `flush` at the end.

    Args:
        session: of one item, not yet begun.
        behind: samples by which its audio is late.
        spec: of its mels.
        checked_mel, checked_audio: raise MelError for what is none, or return it as the model wants it.

    Attributes:
        device: of its audio.
        seconds_behind: how much later than its own frame a sample can be given: look-ahead of model and post-filter.
    """

    def __init__(self, session: Session, behind: int, spec: MelSpec, checked_mel: Check, checked_audio: Check):
        self._session = session
        self._checked_mel, self._checked_audio = checked_mel, checked_audio
        self._empty = checked_mel(torch.zeros(spec.n_mels, 1)).transpose(1, 2)[:, :0]
        self.device = self._empty.device
        self._ended = False
        self.seconds_behind = seconds(behind, spec.sample_rate)

    @without_gradients
    def push(self, mel: Tensor) -> Tensor:
        """The next frames, (n_mels, F) -> the samples (T,) that they decide: none at first, F * hop_length later.

        Raises:
            MelError: wrong number of bands, values that are not finite, several items, or the stream has ended.
        """
        if self._ended:
            raise MelError("this stream has ended: begin another")
        mel = torch.as_tensor(mel)
        if mel.ndim and mel.shape[-1] == 0:
            return self._empty.new_zeros(0)
        mel = self._checked_mel(mel)
        if len(mel) != 1:
            raise MelError(f"a stream is one utterance, not {len(mel)}")
        return self._checked_audio(self._session.push(mel.transpose(1, 2)))[0]

    @without_gradients
    def flush(self) -> Tensor:
        """The samples (T,) that were waiting for frames to come; the stream has ended with them.

        Raises:
            MelError: it had ended before.
        """
        if self._ended:
            raise MelError("this stream has ended: begin another")
        self._ended = True
        return self._checked_audio(self._session.finish(self._empty))[0]
