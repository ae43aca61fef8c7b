"""Names, limits and defaults that the doors and the library share. It imports nothing, so --help is shown at once."""

DEFAULT_GRAIN = 1.0  # of infer.py, in levels of 255: see grain.py
MAX_GRAIN = 50
AUTO = "auto"
RUNTIMES = AUTO, ONNX, OPENVINO, TENSORFLOW = AUTO, "onnx", "openvino", "tensorflow"
PRECISIONS = FLOAT32, BFLOAT16 = "float32", "bfloat16"
