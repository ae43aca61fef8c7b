"""The perceptual loss: it maps stylized and content images to named weighted terms."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from loss_net.losses import content_loss, gram_matrix, style_loss, total_variation_loss
from loss_net.presets import BORDER_SHARE, BORDER_WEIGHT, TRAINING_BORDER, LossPreset
from loss_net.topology import deepest_layer, least_side
from loss_net.vgg import Vgg, build_vgg
from loss_net.weights import VggWeights
from system.arguments import check_images

Losses = dict[str, tf.Tensor]
Features = dict[str, tf.Tensor]


class PerceptualLoss:
    """Callable that maps stylized and content images to the weighted terms of the loss.

    Both arguments are [B, H, W, 3], RGB 0..255. The result is {name: scalar}: "content", "style" and "tv" sum to
    "total", and one term per style layer, such as "style/relu1_1", sums to "style". The Gram matrices of the
    styles, {layer: [S, C, C]}, are computed once. Johnson et al. 2016, https://arxiv.org/abs/1603.08155.
    """

    def __init__(
        self,
        vgg: Vgg,
        style_grams: Features,
        blend_weights: Sequence[float],
        preset: LossPreset,
        border: int = 0,
    ):
        self.vgg = vgg
        self.style_grams = style_grams
        self.blend_weights = tf.constant(blend_weights, style_grams[next(iter(style_grams))].dtype)
        self.preset = preset
        self.border = border

    def __call__(self, stylized: tf.Tensor, content: tf.Tensor) -> Losses:
        return self._terms(stylized, self._content_maps(content))

    def for_content(self, content: tf.Tensor) -> Callable[[tf.Tensor], Losses]:
        """Returns the loss as a function of the stylized images. The features of `content` are computed once.

        Raises ValueError for an array that is not [B, H, W, 3], has a zero side, or is not finite.
        """
        check_images("content", content, ranks=(4,))
        content_maps = self._content_maps(content)
        return lambda stylized: self._terms(stylized, content_maps)

    def for_style(self, style: tf.Tensor) -> "PerceptualLoss":
        """Returns the loss of one of the styles alone; `style` is its number, a scalar."""
        style_grams = {layer: tf.gather(grams, [style]) for layer, grams in self.style_grams.items()}
        return PerceptualLoss(self.vgg, style_grams, [1.0], self.preset, self.border)

    def with_border(self, border: int = TRAINING_BORDER) -> "PerceptualLoss":
        """Returns the same loss, and the outer `border` pixels of the images have a style loss of their own on top.

        A network can tell where the border of an image is, because its padding mirrors the image there. It does not
        matter to the Gram matrices of an image where its style is, and so networks learn to paint a stripe of it along
        the border, where it costs the least content loss. Here the Gram matrices of the border must be those of the
        style too, with BORDER_WEIGHT times the border's share of the area. A border is at most an eighth of an image's
        shorter side. 0: the loss of the whole image. Images of unknown size have that loss, and so have all images
        with a preset whose Gram matrices grow with the image.
        """
        return PerceptualLoss(self.vgg, self.style_grams, self.blend_weights, self.preset, border)

    def multiply_adds(self, side: int) -> int:
        """Returns the multiply-accumulate operations of the loss and its gradient, for one image.

        The image is side x side pixels. Counted are the VGG's convolutions: one pass over the content, one over
        the stylized image, and the backward pass, which costs as much as the latter.
        """
        content_layers, style_layers = tuple(self.preset.content_layers), tuple(self.preset.style_layers)
        stylized_pass = self.vgg.multiply_adds((*content_layers, *style_layers), side)
        return self.vgg.multiply_adds(content_layers, side) + 2 * stylized_pass

    def _content_maps(self, content: tf.Tensor) -> Features:
        maps = self.vgg(content, tuple(self.preset.content_layers))  # ends at the deepest content layer
        return {layer: tf.stop_gradient(feature_map) for layer, feature_map in maps.items()}

    def _terms(self, stylized: tf.Tensor, content_maps: Features) -> Losses:
        preset = self.preset
        # one pass over the stylized images serves both content and style
        stylized_maps = self.vgg(stylized, tuple({**preset.content_layers, **preset.style_layers}))
        content_terms = self._content_terms(stylized_maps, content_maps)
        style_terms = self._style_terms(stylized_maps, stylized)
        terms = {
            "content": preset.content_weight * tf.add_n(content_terms),
            "style": tf.add_n(list(style_terms.values())),
            "tv": preset.tv_weight * total_variation_loss(stylized / preset.pixel_unit, preset.tv_form),
        }
        return {"total": tf.add_n(list(terms.values())), **terms, **style_terms}

    def _content_terms(self, stylized_maps: Features, content_maps: Features) -> list[tf.Tensor]:
        preset = self.preset
        return [
            weight
            * content_loss(
                stylized_maps[layer], content_maps[layer], preset.content_divisor, relative=preset.relative
            )
            for layer, weight in preset.content_layers.items()
        ]

    def _style_terms(self, stylized_maps: Features, stylized: tf.Tensor) -> Losses:
        preset = self.preset
        image_pixels = tf.shape(stylized)[1] * tf.shape(stylized)[2]
        share = 1 / len(preset.style_layers) if preset.style_layers_averaged else 1.0
        return {
            f"style/{layer}": preset.style_weight
            * share
            * weight
            * tf.add_n(
                [
                    part_weight * self._style_loss(layer, part, image_pixels)
                    for part_weight, part in self._style_parts(layer, stylized_maps[layer], stylized)
                ]
            )
            for layer, weight in preset.style_layers.items()
        }

    def _style_loss(self, layer: str, feature_map: tf.Tensor, image_pixels: tf.Tensor) -> tf.Tensor:
        return style_loss(
            feature_map,
            self.style_grams[layer],
            blend_weights=self.blend_weights,
            gram_divisor=self.preset.gram_divisor,
            divisor=self.preset.style_divisor,
            relative=self.preset.relative,
            image_pixels=image_pixels,
        )

    def _style_parts(
        self, layer: str, feature_map: tf.Tensor, images: tf.Tensor
    ) -> list[tuple[float, tf.Tensor]]:
        """Returns the whole feature map and its border, each with its weight; the border only if it counts."""
        sides = images.shape[1:3]
        if self.border == 0 or None in sides or self.preset.gram_divisor.pixels != 1:
            return [(1.0, feature_map)]
        border = min(self.border, min(sides) // BORDER_SHARE) // least_side(layer)
        if border == 0:
            return [(1.0, feature_map)]
        share, pixels = border_of(feature_map, border)
        return [(1.0, feature_map), (BORDER_WEIGHT * share, pixels)]


def border_of(feature_map: tf.Tensor, border: int) -> tuple[float, tf.Tensor]:
    """Returns the outer `border` pixels of feature maps [B, H, W, C] of known size, and their share of the area.

    They are [B, N, 1, C], in a row.
    """
    height, width, channels = feature_map.shape[1:]

    def part(top: int, left: int, rows: int, columns: int) -> tf.Tensor:
        # tf.slice, because the gradient kernel of a strided slice runs in one thread
        pixels = tf.slice(feature_map, [0, top, left, 0], [-1, rows, columns, channels])
        return tf.reshape(pixels, [-1, rows * columns, 1, channels])

    rows = height - 2 * border
    strips = (
        part(0, 0, border, width),
        part(height - border, 0, border, width),
        part(border, 0, rows, border),
        part(border, width - border, rows, border),
    )
    return 1 - rows * (width - 2 * border) / (height * width), tf.concat(strips, axis=1)


def build_perceptual_loss(
    weights: VggWeights,
    styles: Sequence[tf.Tensor],
    preset: LossPreset,
    *,
    blend_weights: Sequence[float] = (),
    compute_dtype: tf.DType = tf.float32,
) -> PerceptualLoss:
    """Builds the loss of `preset` for the style pictures `styles`, each [H, W, 3], RGB 0..255.

    blend_weights: weight of each style. They are divided by their sum; without them all styles count equally.
    compute_dtype: type of the VGG convolutions. Gram matrices and losses are float32, or float64 for float64.

    Raises ValueError if the weights have another architecture than the preset, or if the blend weights are
    negative, all 0, or not one for each style. Raises ValueError for a style that is not an array [H, W, 3], is
    smaller than the deepest style layer needs, or is not finite.
    """
    _check_styles(styles, preset)
    if weights.architecture != preset.architecture:
        raise ValueError(
            f"the preset needs {preset.architecture} weights, got {weights.architecture}: "
            f"load the weights of {preset.architecture} or choose another preset"
        )
    shares = _shares(blend_weights or [1.0] * len(styles), len(styles))
    layers = tuple({**preset.content_layers, **preset.style_layers})
    network = {
        "pooling": preset.pooling,
        "pool_padding": preset.pool_padding,
        "mean_rgb": preset.input_mean,
    }
    vgg = build_vgg(weights, layers, **network, compute_dtype=compute_dtype)
    exact_vgg = vgg
    if compute_dtype not in (tf.float32, tf.float64):
        exact_vgg = build_vgg(weights, preset.style_layers, **network)
    return PerceptualLoss(vgg, _style_grams(exact_vgg, styles, preset), shares, preset)


def _check_styles(styles: Sequence[tf.Tensor], preset: LossPreset) -> None:
    if not styles:
        raise ValueError("styles must contain at least one picture")
    layer = deepest_layer(preset.style_layers, preset.architecture)
    for style in styles:
        check_images("each style", style)
        if min(np.shape(style)[:2]) < least_side(layer):
            raise ValueError(
                f"each style must have at least {least_side(layer)}x{least_side(layer)} pixels for {layer}, got the"
                f" shape {list(np.shape(style))}"
            )


def _shares(blend_weights: Sequence[float], styles: int) -> list[float]:
    """Returns the blend weights divided by their sum."""
    is_valid = (
        len(blend_weights) == styles and min(blend_weights) >= 0 and 0 < sum(blend_weights) < float("inf")
    )
    if not is_valid:
        raise ValueError(
            f"blend_weights must be {styles} numbers of at least 0, not all 0, got {list(blend_weights)}"
        )
    return [weight / sum(blend_weights) for weight in blend_weights]


def _style_grams(vgg: Vgg, styles: Sequence[tf.Tensor], preset: LossPreset) -> Features:
    """Returns the Gram matrices of the styles, {layer: [S, C, C]}."""
    layers = tuple(preset.style_layers)
    by_style = []
    for style in styles:
        maps = vgg(tf.cast(style, vgg.compute_dtype)[tf.newaxis], layers)
        by_style.append({layer: gram_matrix(maps[layer], preset.gram_divisor) for layer in layers})
    return {layer: tf.concat([grams[layer] for grams in by_style], axis=0) for layer in layers}
