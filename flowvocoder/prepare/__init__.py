"""From a manifest to shards, on one machine or a cluster."""
