"""Loads shipped styles as the widespread lesson-30 scripts do, and compares them with infer.py's runtime.

python benchmarks/lesson30_loader.py great_wave starry_night
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow.compat.v1 as tf

from data.images import load_image, resize_image
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]


def stylize_as_lesson30(graph_dir: Path, weights_dir: Path, images: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(graph_dir / "fast_style_transfer.meta"))
        session.run(tf.global_variables_initializer())
        saver.restore(session, tf.train.latest_checkpoint(str(weights_dir)))
        return session.run("transformer/g:0", {"X:0": images})


def main(names: list[str]) -> None:
    photo = load_image(ROOT / "examples" / "coffee.jpg")
    for name in names:
        style_dir = ROOT / "checkpoints" / name
        other_dir = ROOT / "checkpoints" / names[names.index(name) - 1]
        meta_kb = (style_dir / "fast_style_transfer.meta").stat().st_size / 1e3
        print(f"{name}: .meta {meta_kb:.0f} kB")
        for height, width in ((250, 333), (511, 767)):
            image = np.rint(resize_image(photo, height=height, width=width))
            expected = load_stylizer(style_dir)(image)
            for graph_dir in (style_dir, other_dir):
                stylized = stylize_as_lesson30(graph_dir, style_dir, image[np.newaxis].astype(np.float64))[0]
                apart = np.abs(stylized - expected).max()
                print(
                    f"  {height}x{width} in the graph of {graph_dir.name}: {stylized.shape}, apart {apart:.4f}"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
