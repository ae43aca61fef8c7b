"""Loads styles as the widespread "lesson 30" scripts do, and compares the pictures with those of infer.py.

    python benchmarks/lesson30_loader.py great_wave starry_night

The variables have the same names in every style. Each style's weights are therefore also restored into the graph of
the style before it on the command line. Prints the largest difference in levels of 0..255.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from data.images import load_image, resize_image
from transformer.export.style_folder import find_style
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((250, 333), (511, 767))  # height, width


def stylize_as_lesson30(graph_dir: Path, weights_dir: Path, images: np.ndarray) -> np.ndarray:
    """Stylizes images [B, H, W, 3] with the weights of one style in the graph of another."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(graph_dir / "fast_style_transfer.meta"))
        session.run(tf.global_variables_initializer())
        saver.restore(session, tf.train.latest_checkpoint(str(weights_dir)))
        return session.run("transformer/g:0", {"X:0": images})


def main(arguments: list[str] | None = None, *, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="+", metavar="STYLE", help="names or folders of styles of one width")
    style_dirs = [find_style(style) for style in parser.parse_args(arguments).styles]
    photo = load_image(ROOT / "examples" / "coffee.jpg")
    for index, style_dir in enumerate(style_dirs):
        meta_kb = (style_dir / "fast_style_transfer.meta").stat().st_size / 1e3
        print(f"{style_dir.name}: .meta {meta_kb:.0f} kB")
        for height, width in sizes:
            image = np.rint(resize_image(photo, height=height, width=width))
            expected = load_stylizer(style_dir)(image)
            for graph_dir in (style_dir, style_dirs[index - 1]):
                stylized = stylize_as_lesson30(graph_dir, style_dir, image[np.newaxis].astype(np.float64))[0]
                apart = np.abs(stylized - expected).max()
                print(
                    f"  {height}x{width} in the graph of {graph_dir.name}: {stylized.shape}, apart {apart:.4f}"
                )


if __name__ == "__main__":
    main()
