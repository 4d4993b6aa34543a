"""NeMo's FastPitch for `say`: flowvocoder say "Hello there." out.wav --tts fastpitch.py

`pip install 'nemo_toolkit[tts]'`, which fetches the weights from NVIDIA.
"""

import torch
from nemo.collections.tts.models import FastPitchModel

convention = "nemo"
fastpitch = FastPitchModel.from_pretrained("nvidia/tts_en_fastpitch", map_location="cpu").eval()


def speak(text, speed, seed):
    """The mel (80, frames) of a text; nothing in it is random."""
    with torch.inference_mode():
        return fastpitch.generate_spectrogram(tokens=fastpitch.parse(text), pace=speed)[0]
