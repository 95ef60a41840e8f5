"""Load on `viska serve`: many clients at once, every text compared, beside the same work without a server."""
