"""Other people's formats: ONNX and published checkpoints."""
