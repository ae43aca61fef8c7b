"""Scores shipped styles by the loss of a preset, as means over validation photos at their own size.

    python benchmarks/validation_loss.py great_wave --style ../shared/styles/great_wave.jpg \
        --val-dir ../shared/photos/val --vgg ../shared/vgg19/vgg19_notop.h5

The published lengstrom `wave` network, 41,000 steps at full width, scores a total of 3.85e6 that way.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PUBLISHED = {"content": 2.34e6, "style": 1.38e6, "tv": 1.28e5, "total": 3.85e6}  # lengstrom's wave network


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME_OR_DIR", help="styles to score")
    parser.add_argument("--style", type=Path, required=True, help="the style picture, taken at its full size")
    parser.add_argument("--val-dir", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, required=True)
    parser.add_argument("--preset", default="lengstrom")
    parser.add_argument("--photos", type=int, default=100, help="the first so many by name (default: 100)")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    from data.images import load_image
    from data.listing import list_images
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.presets import LOSS_PRESETS
    from loss_net.weights import load_vgg_weights
    from transformer.export.style_folder import find_style
    from transformer.inference.loading import load_stylizer

    preset = LOSS_PRESETS[options.preset]
    weights = load_vgg_weights(options.vgg, preset.architecture)
    loss = build_perceptual_loss(weights, [load_image(options.style)], preset)
    images = tf.TensorSpec([1, None, None, 3], tf.float32)
    compiled_loss = tf.function(loss, input_signature=[images, images])
    photos = [load_image(path) for path in list_images([options.val_dir])[: options.photos]]
    print(f"{len(photos)} photos, loss of preset {options.preset}, float32")
    print(f"{'':24}" + "".join(f"{name:>12}" for name in PUBLISHED))
    print(f"{'published lengstrom wave':24}" + "".join(f"{value:12.3g}" for value in PUBLISHED.values()))
    for name in options.names:
        stylize = load_stylizer(find_style(name))
        terms = [
            compiled_loss(stylize(photo)[np.newaxis], photo[np.newaxis])
            for photo in tqdm(photos, leave=False)
        ]
        means = {key: float(np.mean([term[key] for term in terms])) for key in PUBLISHED}
        print(f"{Path(name).name:24}" + "".join(f"{value:12.3g}" for value in means.values()))
        print(f"{'  of the published':24}" + "".join(f"{means[key] / PUBLISHED[key]:12.2f}" for key in means))


if __name__ == "__main__":
    main()
