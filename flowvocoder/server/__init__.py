"""The vocoder behind HTTP and websockets."""
