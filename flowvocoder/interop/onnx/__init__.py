"""Export to ONNX, and synthesis from an exported file."""
