"""A network of many styles: all of them share the kernels, and each has its own scales, offsets and bias.

This is conditional instance norm, Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629. Here such a network is the
start of new styles: its kernels have learned what all styles have in common (export/base_folder.py).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.export.base_folder import Base, is_of_style
from transformer.network import initial_parameters, stylize


class ManyStyles(tf.Module):
    """The trainable network. `ManyStyles(architecture, styles=S)(images, style)` returns stylized images.

    `parameters` contains the variables by name: kernels as in `network.Transformer`, the others as [S, ...].
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        styles: int,
        seed: int = 0,
        compute_dtype: tf.DType = tf.float32,
    ):
        super().__init__(name="many_styles")
        self.architecture = architecture
        self.styles = styles
        self.compute_dtype = compute_dtype
        self.parameters = {
            name: tf.Variable(np.repeat(value[np.newaxis], styles, 0) if is_of_style(name) else value)
            for name, value in initial_parameters(architecture, seed).items()
        }

    def __call__(self, images: tf.Tensor, style: tf.Tensor) -> tf.Tensor:
        """Stylizes images [B, H, W, 3], RGB 0..255, in style number `style`, a scalar; like `network.stylize`."""
        return stylize(images, self.parameters_of(style), self.architecture, self.compute_dtype)

    def parameters_of(self, style: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns the parameters of one style by name, with the shapes of `Architecture.parameter_shapes`."""
        return {
            name: _row(variable, style) if is_of_style(name) else variable
            for name, variable in self.parameters.items()
        }

    @property
    def hidden_kernels(self) -> list[tf.Variable]:
        """The kernels of all layers but the last, each of which a norm follows."""
        return [self.parameters[name] for name in self.architecture.hidden_kernels]


def style_of_step(step: tf.Tensor, styles: int, seed: int) -> tf.Tensor:
    """Returns the number of the style that a step trains, a scalar int64. Every pass over the styles is shuffled."""
    step = tf.cast(step, tf.int64)
    order = tf.random.experimental.stateless_shuffle(
        tf.range(styles, dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), step // styles])
    )
    return order[step % styles]


def _row(rows: tf.Variable, style: tf.Tensor) -> tf.Tensor:
    # As a product, so that its gradient is a plain tensor: the optimizer takes all gradients as one vector.
    return tf.linalg.matvec(rows, tf.one_hot(style, rows.shape[0]), transpose_a=True)


def best_style(
    base: Base,
    images: Sequence[np.ndarray],
    loss: Callable[[tf.Tensor, tf.Tensor], Mapping[str, tf.Tensor]],
    compute_dtype: tf.DType = tf.float32,
) -> int:
    """Returns the number of the style of `base` whose pictures have the lowest mean loss: the start of a new style.

    images: photos [H, W, 3], RGB 0..255, of one size. loss: (stylized, content) images [1, H, W, 3] -> terms, of
    which "total" is compared. A style whose loss is not finite is not chosen.

    Raises FloatingPointError if no loss is finite.
    """

    @tf.function(autograph=False)
    def total(image: tf.Tensor, parameters: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return loss(stylize(image, parameters, base.architecture, compute_dtype), image)["total"]

    dtype = tf.float64 if compute_dtype == tf.float64 else tf.float32
    contents = [tf.constant(image[np.newaxis], dtype) for image in images]
    totals = []
    for style in range(len(base.styles)):
        parameters = {name: tf.constant(value, dtype) for name, value in base.parameters_of(style).items()}
        totals.append(np.mean([float(total(content, parameters)) for content in contents]))
    if not np.isfinite(totals).any():
        raise FloatingPointError(
            "the loss of every style of the base is not finite; lower --style-weight, or give --start-from none"
        )
    return int(np.argmin(np.where(np.isfinite(totals), totals, np.inf)))
