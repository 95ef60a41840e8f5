"""The confidence of words and segments: fitted on one half of a corpus, measured on the other."""
