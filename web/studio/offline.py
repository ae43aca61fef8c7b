"""What Gradio must know before it is imported: it asks nothing of other machines, and keeps its files in one folder."""

import os
from pathlib import Path

# Gradio and huggingface_hub read these when they are imported.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # telemetry, and the question whether a newer version exists
    "GRADIO_SHARE": "False",  # tunnel through a machine of Hugging Face
    "GRADIO_SSR_MODE": "False",  # a second server, of Node.js
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_RUN_HISTORY": "False",  # pictures of earlier calls in the browser, or in a bucket at Hugging Face
    "GRADIO_VIBE_MODE": "",
    "GRADIO_DEBUG": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def prepare(cache_dir: Path) -> None:
    """Sets the environment of this process. cache_dir: where Gradio stores uploads and results."""
    os.environ.update(QUIET)
    os.environ["GRADIO_TEMP_DIR"] = str(cache_dir)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(cache_dir / "examples")
