"""Bijections, one a file, and the networks that condition them."""
