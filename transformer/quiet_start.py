"""Starts TensorFlow without the dozen lines it logs before any setting of ours can reach it."""

import os
import sys
import tempfile


def start_tensorflow() -> str:
    """Imports TensorFlow and finds its devices; returns "GPU" or "CPU".

    What it writes to stderr meanwhile is held back, and shown only if it fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held_back:
        stderr_copy = os.dup(2)
        os.dup2(held_back.fileno(), 2)  # the lines come from C++, past sys.stderr
        try:
            import tensorflow as tf

            tf.constant(0.0)  # the first tensor is what looks for devices
            return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        except BaseException:
            held_back.seek(0)
            os.write(stderr_copy, held_back.read())
            raise
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
