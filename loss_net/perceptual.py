"""The perceptual loss: stylized and content images in, named weighted terms out."""

import tensorflow as tf

from loss_net.losses import content_loss, gram_matrix, style_loss, total_variation_loss
from loss_net.recipes import Recipe
from loss_net.vgg import Vgg, build_vgg
from loss_net.weights import VggWeights


class PerceptualLoss:
    """Callable: (stylized, content) images [B, H, W, 3], RGB 0..255 -> named weighted terms.

    The dict holds "content", "style" and "tv", which sum to "total", and the layers "style/relu1_1" ... that
    sum to "style". The Gram matrices of `style` [H, W, 3] are computed once, in float32.
    Johnson et al. 2016, https://arxiv.org/abs/1603.08155.
    """

    def __init__(self, vgg: Vgg, style_grams: dict[str, tf.Tensor], recipe: Recipe):
        self.vgg = vgg
        self.style_grams = style_grams
        self.recipe = recipe

    def __call__(self, stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
        recipe = self.recipe
        # one pass over the stylized images serves both; the content's own pass stops at its deepest layer
        stylized_maps = self.vgg(stylized, tuple({**recipe.content_layers, **recipe.style_layers}))
        content_maps = self.vgg(content, tuple(recipe.content_layers))
        content_terms = [
            weight * content_loss(stylized_maps[layer], tf.stop_gradient(content_maps[layer]))
            for layer, weight in recipe.content_layers.items()
        ]
        style_terms = {
            f"style/{layer}": recipe.style_weight
            * weight
            * style_loss(stylized_maps[layer], self.style_grams[layer])
            for layer, weight in recipe.style_layers.items()
        }
        terms = {
            "content": recipe.content_weight * tf.add_n(content_terms),
            "style": tf.add_n(list(style_terms.values())),
            "tv": recipe.tv_weight * total_variation_loss(stylized, recipe.tv_reduction),
        }
        return {"total": tf.add_n(list(terms.values())), **terms, **style_terms}


def build_perceptual_loss(
    weights: VggWeights, style: tf.Tensor, recipe: Recipe, *, compute_dtype: tf.DType = tf.float32
) -> PerceptualLoss:
    """The loss of `recipe` for the picture `style` [H, W, 3], RGB 0..255.

    `compute_dtype` is that of the VGG convolutions; Gram matrices and losses are float32 in any case.
    """
    if weights.architecture != recipe.architecture:
        raise ValueError(f"the recipe needs {recipe.architecture}, the weights are of {weights.architecture}")
    layers = tuple({**recipe.content_layers, **recipe.style_layers})
    exact_vgg = build_vgg(weights, recipe.style_layers, pooling=recipe.pooling)
    style_maps = exact_vgg(tf.cast(style, tf.float32)[tf.newaxis], tuple(recipe.style_layers))
    style_grams = {layer: gram_matrix(feature_map) for layer, feature_map in style_maps.items()}
    vgg = build_vgg(weights, layers, pooling=recipe.pooling, compute_dtype=compute_dtype)
    return PerceptualLoss(vgg, style_grams, recipe)
