"""The perceptual loss: stylized and content images in, named weighted terms out."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from loss_net.losses import content_loss, gram_matrix, style_loss, total_variation_loss
from loss_net.recipes import Recipe
from loss_net.vgg import Vgg, build_vgg
from loss_net.weights import VggWeights

Losses = dict[str, tf.Tensor]
Features = dict[str, tf.Tensor]


class PerceptualLoss:
    """Callable: (stylized, content) images [B, H, W, 3], RGB 0..255 -> named weighted terms.

    The dict holds "content", "style" and "tv", which sum to "total", and the layers "style/relu1_1" ... that
    sum to "style". The Gram matrices of the styles, {layer: [S, C, C]}, are computed once, in float32.
    Johnson et al. 2016, https://arxiv.org/abs/1603.08155.
    """

    def __init__(self, vgg: Vgg, style_grams: Features, blend_weights: Sequence[float], recipe: Recipe):
        self.vgg = vgg
        self.style_grams = style_grams
        self.blend_weights = tf.constant(blend_weights, style_grams[next(iter(style_grams))].dtype)
        self.recipe = recipe

    def __call__(self, stylized: tf.Tensor, content: tf.Tensor) -> Losses:
        return self._terms(stylized, self._content_maps(content))

    def for_content(self, content: tf.Tensor) -> Callable[[tf.Tensor], Losses]:
        """The same loss as a function of the stylized images alone; `content`'s features are computed once."""
        content_maps = self._content_maps(content)
        return lambda stylized: self._terms(stylized, content_maps)

    def multiply_adds(self, side: int) -> int:
        """Of the convolutions of one training image of side x side: the content's pass, the stylized image's, and
        the same again for its gradient."""
        content_layers, style_layers = tuple(self.recipe.content_layers), tuple(self.recipe.style_layers)
        stylized_pass = self.vgg.multiply_adds((*content_layers, *style_layers), side)
        return self.vgg.multiply_adds(content_layers, side) + 2 * stylized_pass

    def _content_maps(self, content: tf.Tensor) -> Features:
        maps = self.vgg(content, tuple(self.recipe.content_layers))  # stops at its deepest layer
        return {layer: tf.stop_gradient(feature_map) for layer, feature_map in maps.items()}

    def _terms(self, stylized: tf.Tensor, content_maps: Features) -> Losses:
        recipe = self.recipe
        # one pass over the stylized images serves content and style
        stylized_maps = self.vgg(stylized, tuple({**recipe.content_layers, **recipe.style_layers}))
        content_terms = [
            weight
            * content_loss(
                stylized_maps[layer], content_maps[layer], recipe.content_divisor, relative=recipe.relative
            )
            for layer, weight in recipe.content_layers.items()
        ]
        image_pixels = tf.shape(stylized)[1] * tf.shape(stylized)[2]
        share = 1 / len(recipe.style_layers) if recipe.style_layers_averaged else 1.0
        style_terms = {
            f"style/{layer}": recipe.style_weight
            * share
            * weight
            * style_loss(
                stylized_maps[layer],
                self.style_grams[layer],
                blend_weights=self.blend_weights,
                gram_divisor=recipe.gram_divisor,
                divisor=recipe.style_divisor,
                relative=recipe.relative,
                image_pixels=image_pixels,
            )
            for layer, weight in recipe.style_layers.items()
        }
        terms = {
            "content": recipe.content_weight * tf.add_n(content_terms),
            "style": tf.add_n(list(style_terms.values())),
            "tv": recipe.tv_weight * total_variation_loss(stylized / recipe.pixel_unit, recipe.tv_form),
        }
        return {"total": tf.add_n(list(terms.values())), **terms, **style_terms}


def build_perceptual_loss(
    weights: VggWeights,
    styles: Sequence[tf.Tensor],
    recipe: Recipe,
    *,
    blend_weights: Sequence[float] = (),
    compute_dtype: tf.DType = tf.float32,
) -> PerceptualLoss:
    """The loss of `recipe` for the pictures `styles`, each [H, W, 3], RGB 0..255.

    `blend_weights` says how much each style counts; they are divided by their sum, and equal if none are given.
    `compute_dtype` is that of the VGG convolutions. Gram matrices and losses are float32 in any case, or float64
    if it is that.
    """
    if weights.architecture != recipe.architecture:
        raise ValueError(f"the recipe needs {recipe.architecture}, the weights are of {weights.architecture}")
    blend_weights = blend_weights or [1.0] * len(styles)
    if len(blend_weights) != len(styles) or min(blend_weights) < 0 or sum(blend_weights) <= 0:
        raise ValueError(f"needs {len(styles)} blend weights, not negative nor all 0, got {blend_weights}")
    layers = tuple({**recipe.content_layers, **recipe.style_layers})
    network = {
        "pooling": recipe.pooling,
        "pool_padding": recipe.pool_padding,
        "mean_rgb": recipe.input_mean,
    }
    vgg = build_vgg(weights, layers, **network, compute_dtype=compute_dtype)
    exact_vgg = vgg
    if compute_dtype not in (tf.float32, tf.float64):
        exact_vgg = build_vgg(weights, recipe.style_layers, **network)
    blend = [weight / sum(blend_weights) for weight in blend_weights]
    return PerceptualLoss(vgg, _style_grams(exact_vgg, styles, recipe), blend, recipe)


def _style_grams(vgg: Vgg, styles: Sequence[tf.Tensor], recipe: Recipe) -> Features:
    """{layer: [S, C, C]}."""
    layers = tuple(recipe.style_layers)
    by_style = []
    for style in styles:
        maps = vgg(tf.cast(style, vgg.compute_dtype)[tf.newaxis], layers)
        by_style.append({layer: gram_matrix(maps[layer], recipe.gram_divisor) for layer in layers})
    return {layer: tf.concat([grams[layer] for grams in by_style], axis=0) for layer in layers}
