"""Trains styles from several starts for several numbers of steps: the validation loss and the minutes of each.

    python benchmarks/new_style.py ../shared/styles/the_scream.jpg ../shared/styles/udnie.jpg \
        --content-dir ../shared/photos/train --val-dir ../shared/photos/val --vgg ../shared/vgg19/vgg19_notop.h5

Every training is a process of its own, train.py with its defaults. The minutes are those from its start to its finished
style. Results are kept in OUTPUT/results.json and the styles in OUTPUT, so that a run that is started again does only
what is missing. The photos are those after the first 100, which are for the figures of finished styles.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.listing import list_images
from system.files import write_text

ROOT = Path(__file__).resolve().parents[1]
FIRST_PHOTO = 100
SHEET_SIDE = 480  # pixels, longest side of a picture on a sheet
TERMS = ("total", "content", "style")


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="+", type=Path, metavar="PICTURE", help="style pictures")
    for flag in ("--content-dir", "--val-dir", "--vgg"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=["balanced", "lengstrom"], metavar="PRESET")
    parser.add_argument("--starts", nargs="+", default=["none", "base"], help="values of --start-from")
    parser.add_argument("--steps", nargs="+", type=int, default=[200, 500, 1500, 3000], metavar="N")
    parser.add_argument("--val-images", type=int, default=20, help="default: 20")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "runs" / "new_style", help="default: runs/new_style"
    )
    parser.add_argument(
        "--photo", type=Path, help="write OUTPUT/STYLE-PRESET.jpg: this photo after each number of steps"
    )
    parser.add_argument(
        "--more", nargs=argparse.REMAINDER, default=[], help="further flags of train.py, at the end"
    )
    return parser.parse_args(arguments)


def linked_photos(val_dir: Path, folder: Path, count: int) -> Path:
    """Returns a folder of links to the photos that are used here."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = list_images([val_dir])
    for path in (paths[FIRST_PHOTO:] or paths)[:count]:
        link = folder / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    return folder


def trained(options: argparse.Namespace, name: str, flags: Sequence[str], photos: Path) -> dict[str, float]:
    """Trains one style; returns its validation losses and the minutes that it took."""
    command = [sys.executable, str(ROOT / "train.py"), *flags, "--name", name, "--overwrite"]
    command += ["--content-dir", str(options.content_dir.resolve()), "--vgg", str(options.vgg.resolve())]
    command += ["--output-dir", str(options.output), "--log-dir", str(options.output / "log" / name)]
    command += ["--val-dir", str(photos), "--val-images", str(options.val_images), *options.more]
    start = time.perf_counter()
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    if ended.returncode:
        sys.exit(f"train.py ended with status {ended.returncode}:\n{ended.stderr}")
    minutes = (time.perf_counter() - start) / 60
    losses = json.loads((options.output / name / "style.json").read_text())["losses"]["validation"]
    return {"minutes": minutes, **{term: losses[term] for term in TERMS}}


def print_table(results: dict[str, dict], options: argparse.Namespace) -> None:
    print("\n| style | preset | start | " + " | ".join(f"{steps} steps" for steps in options.steps) + " |")
    print("|---" * (3 + len(options.steps)) + "|")
    for row in sorted({key.rsplit("/", 1)[0] for key in results}):
        cells = [results.get(f"{row}/{steps}") for steps in options.steps]
        texts = [f"{cell['total']:.4g} ({cell['minutes']:.1f} min)" if cell else "" for cell in cells]
        print(f"| {' | '.join(row.split('/'))} | {' | '.join(texts)} |")


def write_sheet(style_path: Path, preset: str, options: argparse.Namespace) -> None:
    """Writes the stylized photo after each number of steps, a row for each start, beside the style picture."""
    from data.contact_sheet import contact_sheet
    from data.images import load_image, save_image
    from transformer.inference.loading import load_stylizer

    photo, style = load_image(options.photo, max_side=SHEET_SIDE), load_image(style_path, max_side=SHEET_SIDE)
    rows = {
        f"from {Path(start).name}": [
            load_stylizer(options.output / f"{style_path.stem}-{preset}-{Path(start).name}-{steps}")(photo)
            for steps in options.steps
        ]
        for start in options.starts
    }
    labels = [f"{steps} steps" for steps in options.steps]
    sheet = contact_sheet(rows, labels, title=f"{style_path.stem}, preset {preset}", corner=style)
    save_image(options.output / f"{style_path.stem}-{preset}.jpg", sheet)


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    options.output = options.output.resolve()
    photos = linked_photos(options.val_dir, options.output / "photos", options.val_images)
    path = options.output / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    jobs = [
        (style, preset, start, steps)
        for steps in options.steps
        for style in options.styles
        for preset in options.presets
        for start in options.starts
    ]
    for style, preset, start, steps in jobs:
        key = f"{style.stem}/{preset}/{Path(start).name}/{steps}"
        if key in results:
            continue
        flags = ["--style", str(style.resolve()), "--preset", preset, "--steps", str(steps)]
        flags += ["--start-from", start, "--save-every", str(steps)]
        results[key] = trained(options, key.replace("/", "-"), flags, photos)
        write_text(path, json.dumps(results, indent=1))
        found = results[key]
        print(
            f"{key:50} {found['minutes']:6.1f} min " + " ".join(f"{found[term]:10.4g}" for term in TERMS),
            flush=True,
        )
    print_table(results, options)
    for style in options.styles if options.photo else ():
        for preset in options.presets:
            write_sheet(style, preset, options)


if __name__ == "__main__":
    main()
