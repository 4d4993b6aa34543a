"""One utterance as its frames come in."""

import numpy as np
from torch import Tensor

from flowvocoder.audio.arrays import Numbers
from flowvocoder.checks import as_mel, checked_synthesis, refuse
from flowvocoder.errors import MelError
from flowvocoder.inference import without_gradients
from flowvocoder.mel.diagnose import StreamedMel
from flowvocoder.mel.spec import MelSpec
from flowvocoder.streaming.session import Session
from flowvocoder.units import seconds


class Stream:
    """What `Vocoder.stream` gives: `push` frames, get samples, `flush` at the end.

    Args:
        session: of one item, not yet begun.
        behind: samples by which its audio is late.
        spec: of its mels.
        like: a weight of the model.
        trust_mel: take a mel that cannot be of a recording in this convention.

    Attributes:
        device: of its audio.
        seconds_behind: how much later than its own frame a sample can be given: look-ahead of model and post-filter.
    """

    def __init__(self, session: Session, behind: int, spec: MelSpec, like: Tensor, trust_mel: bool = False):
        self._session, self._spec = session, spec
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
        frames = as_mel(mel, self._spec, self._empty)
        if len(frames) != 1:
            raise MelError(f"a stream is one utterance, not {len(frames)}")
        if self._plausible is not None:
            refuse(self._plausible.push(frames[0].cpu().numpy()), self._spec)
        return checked_synthesis(self._session.push(frames.transpose(1, 2)))[0]

    @without_gradients
    def flush(self) -> Tensor:
        """The samples (T,) that were waiting for frames to come; the stream has ended with them.

        Raises:
            MelError: it had ended before.
        """
        if self._ended:
            raise MelError("this stream has ended: begin another")
        self._ended = True
        return checked_synthesis(self._session.finish(self._empty))[0]
