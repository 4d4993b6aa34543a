"""Objective quality of vocoded speech: what is measured, on what, against what, and how sure the means are."""
