"""When words were said: agreement with openai-whisper, and how near the times come to the truth."""
