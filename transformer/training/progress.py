"""How far a training has come: the counts and losses that are saved with its state."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformer.json_text import read_numbers
from transformer.training.summaries import RunningMeans


@dataclass
class Progress:
    """Counts and losses of a training. With them a resumed training continues exactly where it stopped."""

    step: int = 0  # steps done
    images: int = 0  # images taken from the stream of batches
    rollbacks: int = 0
    seconds: float = 0.0  # of the steps, previews and validations so far
    start: str = ""  # where the first weights came from, for the reader of style.json
    monitored_step: int = 0  # step of the newest previews and validation
    losses: dict[str, float] = field(default_factory=dict)  # newest means
    validation: dict[str, float] = field(default_factory=dict)  # newest means over the validation photos
    best_validation: dict[str, float] = field(default_factory=dict)  # "step" and "total" of the lowest total
    means: RunningMeans = field(default_factory=RunningMeans)  # of the steps since the newest losses

    def add_step(self, losses: Mapping[str, Any], images: int) -> None:
        """Counts one step of `images` images."""
        self.step += 1
        self.images += images
        self.means.add(losses)

    def add_validation(self, validation: Mapping[str, float]) -> None:
        """Takes the validation losses of the current step. A total that is not finite is never the best."""
        self.monitored_step = self.step
        self.validation = dict(validation)
        total = validation.get("total", math.nan)
        if math.isfinite(total) and total < self.best_validation.get("total", math.inf):
            self.best_validation = {"step": self.step, "total": total}

    def as_json(self) -> dict[str, Any]:
        """Returns everything but the step as JSON values; numbers may be NaN or infinite."""
        return {
            "images": self.images,
            "rollbacks": self.rollbacks,
            "seconds": round(self.seconds, 3),
            "start": self.start,
            "monitored_step": self.monitored_step,
            "losses": self.losses,
            "validation": self.validation,
            "best_validation": self.best_validation,
            "means": self.means.as_json(),
        }

    def restore(self, step: int, info: Mapping[str, Any]) -> None:
        """Sets everything to what `as_json` returned at `step`."""
        self.step = step
        self.images, self.rollbacks = info["images"], info["rollbacks"]
        self.seconds, self.start = info["seconds"], info["start"]
        self.monitored_step = info["monitored_step"]
        self.losses, self.validation = read_numbers(info["losses"]), read_numbers(info["validation"])
        self.best_validation = dict(info["best_validation"])
        self.means = RunningMeans(info["means"])
