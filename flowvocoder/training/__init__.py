"""Training in stages, on one or several processes, resumable at any step."""
