"""Fuzz target: damaged style.json files. `python -m fuzz.style_json --cases 500`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from fuzz.engine import Target, main


def seeds() -> Mapping[str, bytes]:
    """The style.json of a trained style, of another project, and one with unusual texts."""
    picture = {"file": "wave.jpg", "sha256": "54f1", "source": "Hokusai, 1831", "license": "public domain"}
    trained = {
        "name": "great_wave",
        "config": {
            "style": "wave.jpg",
            "preset": "lengstrom",
            "content_weight": 7.5,
            "style_weight": 100.0,
            "tv_weight": 200.0,
            "style_size": None,
            "preview": ["a.jpg", "b.jpg"],
        },
        "style_picture": picture,
        "steps": {"done": 1500, "skipped": 0, "minutes": 6.5, "start": "base, river"},
        "losses": {
            "training": {"total": 4937265.28, "learning_rate": 2.99e-08},
            "validation": {"total": 4.5e6},
        },
    }
    unusual = {"style_picture": {"source": "\x1b[31m\u202e\u2028 Größe 波 \U0001f30a"}}
    return {
        "trained.json": json.dumps(trained, indent=2).encode(),
        "foreign.json": b'{"epochs": 2, "lr": 1e-3, "layers": [[1, [2, [3]]]]}',
        "unusual.json": json.dumps(unusual).encode(),
        "utf8.json": json.dumps(unusual, ensure_ascii=False).encode(),
    }


def read_style_json(content: bytes, folder: Path) -> None:
    """Reads the file and makes the line that --list-styles prints."""
    from cli.listings import about_style
    from transformer.export.style_folder import style_info

    (folder / "style.json").write_bytes(content)
    line = about_style(style_info(folder))
    assert all(character.isprintable() or character == "\u3000" or character.isspace() for character in line)
    assert "\n" not in line and "\x1b" not in line


def refusals() -> tuple[type[Exception], ...]:
    from transformer.export.style_folder import StyleError

    return (StyleError,)


TARGET = Target("style_json", seeds, read_style_json, refusals, seconds=5.0, memory=2e8)

if __name__ == "__main__":
    sys.exit(main(TARGET))
