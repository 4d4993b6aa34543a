"""Matcha-TTS with the flow in place of HiFi-GAN: python matcha_tts.py matcha_ljspeech.ckpt "Hello there." out.wav

`pip install matcha-tts flowvocoder`. Its checkpoints are pickles: open only those of people you trust.
"""

import sys

import soundfile
import torch
from matcha.cli import load_matcha, process_text

from flowvocoder import Vocoder

checkpoint, text, out = sys.argv[1:]
cpu = torch.device("cpu")
matcha, vocoder = load_matcha("matcha", checkpoint, cpu), Vocoder.from_pretrained()
given = process_text(0, text, cpu)
with torch.inference_mode():
    mel = matcha.synthesise(given["x"], given["x_lengths"], n_timesteps=10, temperature=0.667)["mel"]
speech = vocoder.synthesize(mel, seed=0, convention="hifigan")  # a mel that cannot be one is refused
soundfile.write(out, speech[0].numpy(), vocoder.sample_rate)
