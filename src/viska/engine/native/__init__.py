"""A step of the decoder with int8 weights, in compiled code (decoder.c), where it was built and the processor runs it.

Where it is not there, `viska.engine.decoder` does the same with torch, which takes two to four times as long.
"""
