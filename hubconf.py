"""For `torch.hub.load("OWNER/flowvocoder", "vocoder")`, which needs the package's dependencies, and not the package."""

from typing import Any as _Any

from flowvocoder.vocoder import Vocoder as _Vocoder  # what has no underscore is an entry point

dependencies = ["torch", "librosa", "numpy", "soundfile", "soxr", "safetensors", "scipy"]


def vocoder(name: str | None = None, **options: _Any) -> _Vocoder:
    """A voice, ready for inference.

    Args:
        name, options: as `flowvocoder.Vocoder.from_pretrained` takes them; None: the bundled voice.
    """
    return _Vocoder.from_pretrained(name, **options)
