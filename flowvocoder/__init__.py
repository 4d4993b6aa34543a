"""flowvocoder: mel spectrograms to speech by normalizing flows, with exact likelihood.

>>> from flowvocoder import Vocoder
>>> audio = Vocoder.from_pretrained().synthesize(mel)
"""

from typing import TYPE_CHECKING, Any

from flowvocoder.errors import FlowVocoderError

if TYPE_CHECKING:
    from flowvocoder.vocoder import Vocoder

__version__ = "0.2.0"
__all__ = ["FlowVocoderError", "Vocoder", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazily, so that `import flowvocoder` and `flowvocoder --help` do not wait for torch.
    if name == "Vocoder":
        from flowvocoder.vocoder import Vocoder

        return Vocoder
    raise AttributeError(f"module 'flowvocoder' has no attribute {name!r}")
