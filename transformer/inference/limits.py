"""Limits and defaults that the doors and the library share. It imports nothing, so a door can show its help at once."""

DEFAULT_GRAIN = 1.0  # of infer.py, in levels of 255: see grain.py
MAX_GRAIN = 50
RUNTIMES = ("auto", "onnx", "openvino", "tensorflow")
PRECISIONS = ("float32", "bfloat16")
