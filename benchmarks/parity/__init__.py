"""Does Viska give the tokens of the `openai-whisper` package? `scripts/parity` asks on real recordings."""
