"""ONNX Runtime without telemetry.

From 1.29 on, the packages for Linux and macOS send names and hashes of models to Microsoft unless a variable of the
environment forbids it before the import. They also leave a file, .ses, in the folder for temporary files.
"""

import os
from typing import Any

VARIABLE = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime() -> Any:
    """Returns the module onnxruntime. All modules of this project import it by this function."""
    os.environ[VARIABLE] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # for those on Windows, which do not read the variable
    return onnxruntime
