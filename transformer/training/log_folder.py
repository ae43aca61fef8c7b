"""What a training leaves in its log folder, and how to tell it from other projects' files. Imports no TensorFlow."""

from pathlib import Path

from transformer.training.state import state_paths

STATE_DIR = "state"
CONFIG_FILE = "config.json"
EVENT_SUFFIX = ".fast_style"  # end of the names of this project's TensorBoard event files
# Earlier versions wrote event files without that suffix. Their first summary is the configuration as JSON text.
_CONFIG_KEYS = (b'"content_dir"', b'"residual_blocks"', b'"style_weight"')
_CONFIG_BYTES = 65536  # far more than the configuration with its file header


def clear_log_dir(log_dir: Path) -> None:
    """Removes the saved states and the TensorBoard events of earlier trainings from `log_dir`.

    Everything else stays, event files of other projects too. Call it after all that can fail has been built and
    before the training writes its first file. Raises OSError.
    """
    events = [path for path in log_dir.glob("events.out.tfevents.*") if _is_own_event_file(path)]
    for path in (*state_paths(log_dir / STATE_DIR), *events):
        path.unlink(missing_ok=True)


def _is_own_event_file(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.name.endswith(EVENT_SUFFIX):
        return True
    with path.open("rb") as stream:
        start = stream.read(_CONFIG_BYTES)
    return all(key in start for key in _CONFIG_KEYS)
