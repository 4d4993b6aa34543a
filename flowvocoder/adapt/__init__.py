"""A voice made of a few recordings, from one that is there."""
