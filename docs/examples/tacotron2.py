"""NVIDIA's Tacotron 2 for `say`: flowvocoder say "Hello there." out.wav --tts tacotron2.py

`pip install inflect unidecode`. torch.hub fetches code and weights of NVIDIA and runs them: a pickle is a program.
"""

import torch

convention = "tacotron2"
HUB = "NVIDIA/DeepLearningExamples:torchhub"
tacotron2 = torch.hub.load(HUB, "nvidia_tacotron2", model_math="fp32").eval()
utils = torch.hub.load(HUB, "nvidia_tts_utils")


def speak(text, speed, seed):
    """The mel (80, frames) of a text; this model has one speed."""
    torch.manual_seed(seed)  # dropout is a part of it
    ids, lengths = utils.prepare_input_sequence([text], cpu_run=True)
    with torch.inference_mode():
        return tacotron2.infer(ids, lengths)[0][0]
