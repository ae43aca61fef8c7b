"""ONNX Runtime sessions. ONNX Runtime is imported on first use."""

from pathlib import Path


def open_session(model: Path | bytes, *, threads: int):
    """Returns an onnxruntime.InferenceSession for a file or a serialized model, which uses `threads` CPU threads.

    Raises what ONNX Runtime raises: one class per status code, without a common base class.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = (
        False  # otherwise the second image of a size takes twice as long as the others
    )
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
