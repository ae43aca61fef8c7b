"""Turns the results of train.py in this folder into finished styles: see tools/jax_port/__init__.py.

python -m tools.jax_port.unpack PACKED RESULTS --output-dir checkpoints
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cli.train_config import BASE
from transformer.architecture import Architecture

TERMS = ("total", "content", "style", "tv")


def load_result(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the parameters, [S, ...] where they belong to a style, and what train.py says of the training."""
    with np.load(path, allow_pickle=False) as archive:
        parameters = {name: archive[name] for name in archive.files if name != "about"}
        return parameters, json.loads(str(archive["about"]))


def style_info(job: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of style.json, as cli.training_report.style_metadata."""
    config, picture = job["config"], Path(job["files"][0])
    return {
        "name": job["name"],
        "config": config,
        "trained_with": f"tools/jax_port on {about['device']}",
        "style_picture": {
            "file": picture.name,
            "sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
            "source": config["style_source"],
            "license": config["style_license"],
        },
        "training_data": {
            "folder": Path(config["content_dir"]).name,
            "photos": about["photos"],
            "skipped": 0,
        },
        "steps": {
            "done": about["log"][-1][0],
            "skipped": about["skipped"],
            "rollbacks": 0,
            "minutes": round(about["seconds"] / 60, 1),
            "device": about["device"],
            "start": about["start"],
        },
        "losses": {
            "training": dict(zip(TERMS, about["log"][-1][1:], strict=True)),
            "validation": dict(zip(TERMS, about["validation"], strict=True)),
        },
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy", "onnx")},
    }


def write_base(
    job: Mapping[str, Any], parameters: Mapping[str, np.ndarray], about: Mapping[str, Any], folder: Path
) -> None:
    """Writes the result of a job with "base" as a base."""
    from transformer.export.base_folder import Base, save_base
    from transformer.export.onnx_graph import with_half_precision

    names = tuple(Path(path).stem for path in job["files"])
    losses = dict(zip(TERMS, about["log"][-1][1:], strict=True))
    info = {"steps_done": about["log"][-1][0], "losses": losses, "config": job["config"]}
    info["trained_with"] = f"tools/jax_port on {about['device']}, on {about['photos']} photos"
    architecture = architecture_of(job)
    save_base(folder, Base(architecture, names, with_half_precision(parameters, architecture)), info)


def write_style(
    job: Mapping[str, Any], parameters: Mapping[str, np.ndarray], about: Mapping[str, Any], folder: Path
) -> None:
    """Writes the result of a job as a finished style."""
    from transformer.export.finished_style import export_style
    from transformer.network import Transformer

    network = Transformer(architecture_of(job))
    for name, variable in network.parameters.items():
        variable.assign(parameters[name] if name.endswith("/kernel") else parameters[name][0])
    export_style(folder, network, style_info(job, about))


def architecture_of(job: Mapping[str, Any]) -> Architecture:
    """Returns the shape of the network of a job."""
    config = job["config"]
    return Architecture(config["width"], config["residual_blocks"], config["outer_kernel"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packed", type=Path, metavar="PACKED", help="folder that pack.py wrote")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder that train.py wrote")
    parser.add_argument(
        "--output-dir", type=Path, required=True, help="folder for the finished styles and the base"
    )
    options = parser.parse_args(arguments)
    for job in json.loads((options.packed / "jobs.json").read_text()):
        path = options.results / f"{job['name']}.npz"
        if not path.exists():
            print(f"{job['name']} is not trained yet")
            continue
        parameters, about = load_result(path)
        write = write_base if job["name"] == BASE else write_style
        write(job, parameters, about, options.output_dir / job["name"])
        print(f"{options.output_dir / job['name']} is ready")


if __name__ == "__main__":
    main()
