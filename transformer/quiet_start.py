"""Starts TensorFlow without the dozen lines it logs before any setting of ours can reach it."""

import contextlib
import os
import sys
import tempfile


def start_tensorflow(*, one_op_at_a_time: bool = False, leave_devices_alone: bool = False) -> str:
    """Imports TensorFlow and finds its devices; returns "GPU" or "CPU".

    `leave_devices_alone`: nothing is computed yet, as a process that joins a cluster must.

    `one_op_at_a_time`: operations are computed one after the other, each on all cores, which is faster where one
    graph of large convolutions is all there is to do, and slower where a tf.data pipeline runs beside it.
    What it writes to stderr meanwhile is held back, and shown only if it fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held_back:
        stderr_copy = os.dup(2)
        os.dup2(held_back.fileno(), 2)  # the lines come from C++, past sys.stderr
        try:
            import tensorflow as tf

            if one_op_at_a_time:
                with contextlib.suppress(RuntimeError):  # TensorFlow runs already, and keeps its setting
                    tf.config.threading.set_inter_op_parallelism_threads(1)
            if not leave_devices_alone:
                tf.constant(0.0)  # the first tensor is what looks for devices
            return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        except BaseException:
            held_back.seek(0)
            os.write(stderr_copy, held_back.read())
            raise
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
