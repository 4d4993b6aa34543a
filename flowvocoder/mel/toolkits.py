"""What programs do to their mels: shifts and scales by name, each from the code that defines it."""

import dataclasses
import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", "Tensor", np.ndarray)


HIGHEST = 80.0
"""Nats that magnitudes are taken to have at most, for others are infinite in 32 bits; no mel has so many."""


@dataclasses.dataclass(frozen=True)
class Toolkit:
    """How a program's numbers become a mel of a convention.

    Attributes:
        spec: what they are once undone.
        factor, shift: the mel is factor x value + shift.
        added: to magnitudes before the logarithm.
        source: the code that says so; "" for a plain convention.
    """

    spec: MelSpec
    factor: float = 1.0
    shift: float = 0.0
    added: float = 0.0
    source: str = ""

    @property
    def changes(self) -> bool:
        """Whether its numbers differ from those of `spec`."""
        return (self.factor, self.shift, self.added) != (1.0, 0.0, 0.0)

    def undo(self, values: Values) -> Values:
        """A mel (..., n_mels, F) of `spec`."""
        if (self.factor, self.shift) != (1.0, 0.0):
            values = self.factor * values + self.shift
        if not self.added:
            return values
        unit = math.log(10.0) if self.spec.log == "log10" else 1.0
        if isinstance(values, np.ndarray):
            magnitudes = np.exp(np.minimum(unit * values, HIGHEST))
            return np.log(np.maximum(magnitudes - self.added, self.spec.floor)) / unit
        return ((unit * values).exp() - self.added).clamp_min(self.spec.floor).log() / unit


TOOLKITS: dict[str, Toolkit] = {
    # 20 log10 of the magnitude, less ref_level_db 20, from min_level_db -100 .. 0 to -4 .. 4, where it is cut.
    "coqui": Toolkit(
        MelSpec(fmax=11025.0, log="log10", floor=1e-4), factor=100 / 8 / 20, shift=(100 / 2 - 100 + 20) / 20,
        source="coqui-ai/TTS: BaseAudioConfig, AudioProcessor.normalize",
    ),
    # Pads with zeros, not by reflection, which only the first and last two frames show.
    "diffsinger": Toolkit(
        MelSpec(fmin=80.0, fmax=7600.0, log="log10", floor=1e-6),
        source="MoonInTheRiver/DiffSinger: configs/tts/base.yaml, data_gen_utils.process_utterance",
    ),
    "nemo": Toolkit(
        convention("tacotron2"), added=1e-5,
        source="NVIDIA/NeMo: examples/tts/conf/fastpitch_align_v1.05.yaml, FilterbankFeatures",
    ),
    "speechbrain": Toolkit(
        convention("tacotron2"),
        source="speechbrain/speechbrain: recipes/LJSpeech/TTS/fastspeech2/hparams/train.yaml, mel_spectogram",
    ),
}  # fmt: skip
"""Their settings for 22 050 Hz as the code stands; a model may have been trained with others."""


def toolkit(name: str) -> Toolkit:
    """The toolkit, or plain convention, of a name in any case. Raises ConfigError that lists the names there are."""
    name = name.lower() if name.lower() in {*CONVENTIONS, *TOOLKITS} else name
    if name in CONVENTIONS:
        return Toolkit(convention(name))
    if name not in TOOLKITS:
        raise ConfigError(f"unknown mel convention {name!r}: there are {', '.join([*CONVENTIONS, *TOOLKITS])}")
    return TOOLKITS[name]
