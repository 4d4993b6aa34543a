"""Mel, synthesis and streams with NumPy and ONNX Runtime alone: nothing here imports torch.

`Vocoder.from_pretrained("voice/")` loads what `flowvocoder export bundled voice/` wrote.
"""

from flowvocoder.runtime.vocoder import Vocoder

__all__ = ["Vocoder"]
