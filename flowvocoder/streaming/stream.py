"""One utterance as its frames come in."""

import numpy as np
import torch
from torch import Tensor

from flowvocoder.audio.arrays import Numbers
from flowvocoder.checks import as_mel, checked_synthesis
from flowvocoder.errors import MelError
from flowvocoder.inference import without_gradients
from flowvocoder.mel.conversion import MelConversion
from flowvocoder.mel.diagnose import StreamedMel, refuse
from flowvocoder.streaming.session import Session
from flowvocoder.units import seconds


class Stream:
    """What `Vocoder.stream` gives: `push` frames, get samples, `flush` at the end.

    Args:
        session: of one item, not yet begun.
        behind: samples by which its audio is late.
        conversion: from its mels to those of the session.
        like: a weight of the model.
        trust_mel: take a mel that cannot be of a recording in this convention.

    Attributes:
        device: of its audio.
        seconds_behind: how much later than its own frame a sample can be given: look-ahead of model and post-filter.
    """

    def __init__(self, session: Session, behind: int, conversion: MelConversion, like: Tensor, trust_mel: bool = False):
        spec = conversion.given
        self._session, self._spec, self._conversion = session, spec, conversion
        self._frames, self._moved = 0, conversion.audio()
        self._last: Tensor | None = None
        self._plausible = None if trust_mel else StreamedMel(spec)
        self._empty = like.new_zeros(1, 0, spec.n_mels)
        self.device = like.device
        self._ended = False
        self.seconds_behind = seconds(behind, spec.sample_rate)

    @without_gradients
    def push(self, mel: Numbers) -> Tensor:
        """The next frames, (n_mels, F) -> the samples (T,) that they decide: none at first, F * hop_length later.

        Raises:
            MelError: wrong number of bands, values that are not finite, several items, or the stream has ended.
            ImplausibleMelError: what came so far is a mel of another kind, such as one scaled to 0..1.
        """
        if self._ended:
            raise MelError("this stream has ended: begin another")
        if np.shape(mel)[-1:] == (0,):
            return self._empty.new_zeros(0)
        frames = self._conversion.source.undo(as_mel(mel, self._spec, self._empty))
        if len(frames) != 1:
            raise MelError(f"a stream is one utterance, not {len(frames)}")
        if self._plausible is not None:
            refuse(self._plausible.push(frames[0].cpu().numpy()), self._spec)
        frames = self._conversion.values(frames).transpose(1, 2)
        self._frames += frames.shape[1]
        if self._last is None and self._conversion.later > 0:
            frames = torch.cat([frames[:, :1], frames], 1)
        self._last = frames[:, -1:]
        return self._samples(self._session.push(frames))

    @without_gradients
    def flush(self) -> Tensor:
        """The samples (T,) that were waiting for frames to come; the stream has ended with them.

        Raises:
            MelError: it had ended before.
        """
        if self._ended:
            raise MelError("this stream has ended: begin another")
        self._ended = True
        more = self._last if self._last is not None and self._conversion.later < 0 else self._empty
        return self._samples(self._session.finish(more))

    def _samples(self, audio: Tensor) -> Tensor:
        return checked_synthesis(self._moved.take(audio, self._frames))[0]
