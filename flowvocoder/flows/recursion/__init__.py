"""The pitch recursion: one reference, and what computes the same faster or elsewhere."""
