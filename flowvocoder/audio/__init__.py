"""Signal maths and audio files: each idea once."""
