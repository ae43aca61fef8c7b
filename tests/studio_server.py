"""A studio for tests, as a process: `python tests/studio_server.py FLAGS.json`. Trains tiny networks.

FLAGS.json: {"studio": flags of studio.py, "training": flags that every training gets beside its own}.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import studio
from web.studio import trainings


def main(flags_path: str) -> int:
    flags = json.loads(Path(flags_path).read_text(encoding="utf-8"))

    class TinyTrainings(trainings.Trainings):
        def __init__(self, config, private_dir):
            super().__init__(config, private_dir, tuple(flags["training"]))

    trainings.Trainings = TinyTrainings
    return studio.main(flags["studio"])


if __name__ == "__main__":
    studio.leave(main(sys.argv[1]))
