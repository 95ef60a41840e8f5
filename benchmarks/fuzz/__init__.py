"""Hostile bytes against Viska's own readers and writers: `scripts/fuzz`."""
