"""Corpora for training: manifests, shards, splits, segments."""
