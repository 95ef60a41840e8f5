"""Voice activity on real recordings: how much speech is kept, how much else, how fast, beside faster-whisper's."""
