"""Mel spectrograms: definition, computation, files, and what a foreign mel looks like."""
