"""A mel to speech with onnxruntime and numpy alone: python onnx_stream.py step.onnx mel.npy out.wav

`flowvocoder export --step bundled step.onnx` makes the first: one step of synthesis, with its state as inputs.
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
if "state_shapes" not in about:
    sys.exit(f"{sys.argv[1]}: takes whole mels only: export it with --step")
hop, block, delay = (int(about[key]) for key in ("hop_length", "block", "delay"))
mel = np.load(sys.argv[2])[None].astype(np.float32)  # (1, n_mels, frames), as about["mel_spec"] defines it
frames, chunk, random = mel.shape[2], 8, np.random.default_rng(0)
mel = np.pad(mel, ((0, 0), (0, 0), (0, -(-delay // hop))))  # the last samples come out `delay` samples late

state = {f"state_{i}": np.zeros((1, *shape), np.float32) for i, shape in enumerate(json.loads(about["state_shapes"]))}
audio = []
for start in range(0, mel.shape[2], chunk):
    now = mel[:, :, start : start + chunk]
    noise = random.standard_normal((1, block, now.shape[2] * hop // block), np.float32) * float(about["temperature"])
    inputs = {"mel": now, "noise": noise, "position": np.array(start), "length": np.array([frames])}
    samples, *new = session.run(None, {**inputs, **state})
    state = dict(zip(state, new, strict=True))
    audio.append(samples[0])

pcm = np.clip(np.concatenate(audio)[delay : delay + frames * hop] * 32768, -32768, 32767).astype(np.int16)
with wave.open(sys.argv[3], "wb") as file:
    file.setparams((1, 2, int(about["sample_rate"]), len(pcm), "NONE", ""))
    file.writeframes(pcm.tobytes())
