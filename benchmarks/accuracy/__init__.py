"""Are Viska's transcripts as good as its rivals', in every mode: `python -m benchmarks.accuracy`."""
