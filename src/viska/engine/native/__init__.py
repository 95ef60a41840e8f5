"""What torch is slow at, in compiled code: a step of the decoder in int8, attention of the encoder in float32.

It is there where it was built (hatch_build.py) and the processor runs it; elsewhere torch does the same. The classes of
ctypes mirror the structures of the C files field by field.
"""
