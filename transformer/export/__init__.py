"""Writes a trained network as a style folder (meta graph, ONNX file, style.json), and for other programs."""
