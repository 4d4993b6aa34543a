"""Synthesis in steps: sessions, streams, noise by position, engines."""
