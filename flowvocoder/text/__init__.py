"""Text to mels, by acoustic models of other people."""
