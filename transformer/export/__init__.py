"""A finished style: its folder, meta graph and ONNX file."""
