"""Published checkpoints of the WaveGlow family, read without running anything in them."""
