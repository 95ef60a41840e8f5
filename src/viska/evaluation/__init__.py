"""How good transcripts are: a manifest of recordings, scores of each, figures of groups, reports.

`manifest` reads what is said, `run` has it transcribed, `units`, `alignment` and `loops` compare, `score` says what
became of one recording, `summary` of many, `compare` of two runs; `table`, `page` and `storage` show it.
"""
