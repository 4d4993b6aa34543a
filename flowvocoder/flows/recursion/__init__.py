"""The pitch recursion: `reference` defines it; the other files compute the same faster, or elsewhere."""
