"""The losses of neural style transfer as pure functions of tensors.

Gatys et al. 2016 (https://arxiv.org/abs/1508.06576) and Johnson et al. 2016 (https://arxiv.org/abs/1603.08155).
Everything is computed in float32, or in float64 where the feature maps are: never in less. A sum of squares is
per image, averaged over the batch.
"""

import tensorflow as tf

from loss_net.recipes import PER_ELEMENT, PER_GRAM_ELEMENT, Divisor

TV_FORMS = ("mean_squares", "sum_squares", "sum_powers", "sum_absolutes")
TV_POWER = 1.25  # of squared gradients, in "sum_powers": Mahendran & Vedaldi 2014, arXiv:1412.0035, beta 2.5


def gram_matrix(feature_map: tf.Tensor, divisor: Divisor = PER_ELEMENT) -> tf.Tensor:
    """Channel correlations of feature maps [B, H, W, C] over `divisor`: [B, C, C].

    The default, H*W*C, makes pictures of different sizes comparable: Johnson et al., equation 3.
    """
    shape = tf.shape(feature_map)
    features = tf.reshape(feature_map, [shape[0], shape[1] * shape[2], feature_map.shape[3]])  # [B, N, C]
    correlations = _correlations(features)
    return correlations / _size(divisor, feature_map, correlations.dtype)


@tf.custom_gradient
def _correlations(features: tf.Tensor) -> tf.Tensor:
    """F'F in full precision of features [B, N, C]: [B, C, C].

    With its own gradient, F (G + G'): one product where differentiating F'F by parts takes two, and computed
    in the features' own type, in which that gradient is handed on anyway.
    """
    exact = _exact(features)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:  # [B, C, C] -> [B, N, C]
        both = upstream + tf.linalg.matrix_transpose(upstream)
        return tf.matmul(features, tf.cast(both, features.dtype))

    return tf.matmul(exact, exact, transpose_a=True), gradient


def content_loss(
    stylized_map: tf.Tensor,
    content_map: tf.Tensor,
    divisor: Divisor = PER_ELEMENT,
    *,
    relative: bool = False,
) -> tf.Tensor:
    """How far one layer's feature map [B, H, W, C] is from the content's: a sum of squares over `divisor`.

    `relative`: over the sum of squares of the content's map instead, image by image.
    """
    squares = tf.math.squared_difference(_exact(stylized_map), _exact(content_map))
    if relative:
        energy = tf.reduce_sum(tf.square(_exact(content_map)), axis=(1, 2, 3))  # [B]
        return tf.reduce_mean(_ratio(tf.reduce_sum(squares, axis=(1, 2, 3)), energy))
    batch_size = tf.cast(tf.shape(stylized_map)[0], squares.dtype)
    return tf.reduce_sum(squares) / (batch_size * _size(divisor, stylized_map, squares.dtype))


def style_loss(
    stylized_map: tf.Tensor,
    style_grams: tf.Tensor,
    *,
    blend_weights: tf.Tensor | None = None,
    gram_divisor: Divisor = PER_ELEMENT,
    divisor: Divisor = PER_GRAM_ELEMENT,
    relative: bool = False,
    image_pixels: tf.Tensor | int = 1,
) -> tf.Tensor:
    """How far one layer's Gram matrices are from the styles': sums of squares over `divisor`, blended. Scalar.

    stylized_map [B, H, W, C]; style_grams [S, C, C] with the same gram_divisor, one for each of S styles;
    blend_weights [S], by default equal and summing to 1; image_pixels: H*W of the stylized image.
    `relative`: over the sum of squares of each style's own Gram matrix instead of `divisor`.
    """
    grams = gram_matrix(stylized_map, gram_divisor)
    squares = tf.math.squared_difference(grams[:, tf.newaxis], style_grams)  # [B, S, C, C]
    by_style = tf.reduce_mean(tf.reduce_sum(squares, axis=(2, 3)), axis=0)  # [S]
    if relative:
        by_style = _ratio(by_style, tf.reduce_sum(tf.square(style_grams), axis=(1, 2)))
    if blend_weights is None:
        blended = tf.reduce_mean(by_style)
    else:
        blended = tf.tensordot(tf.cast(blend_weights, by_style.dtype), by_style, 1)
    return blended if relative else blended / _size(divisor, stylized_map, blended.dtype, image_pixels)


def total_variation_loss(images: tf.Tensor, form: str = "mean_squares") -> tf.Tensor:
    """How much neighbouring pixels of images [B, H, W, C] differ, down (dy) and across (dx). Scalar.

    "mean_squares": mean dy^2 + mean dx^2 (lengstrom). "sum_squares": sum dy^2 + sum dx^2 (Torch programs).
    "sum_powers": sum (dx^2 + dy^2)^1.25 over the (H-1, W-1) pixels that have both (Keras).
    "sum_absolutes": sum |dy| + sum |dx| (TensorFlow). A side of one pixel has no neighbours and adds 0.
    """
    if form not in TV_FORMS:
        raise ValueError(f"form must be one of {', '.join(TV_FORMS)}, got {form!r}")
    images = tf.convert_to_tensor(images)
    down, across = _neighbour_difference(images, axis=1), _neighbour_difference(images, axis=2)
    batch_size = tf.cast(tf.shape(images)[0], images.dtype)
    if form == "mean_squares":
        return _mean(tf.square(down)) + _mean(tf.square(across))
    if form == "sum_squares":
        return (tf.reduce_sum(tf.square(down)) + tf.reduce_sum(tf.square(across))) / batch_size
    if form == "sum_absolutes":
        return (tf.reduce_sum(tf.abs(down)) + tf.reduce_sum(tf.abs(across))) / batch_size
    shape = tf.shape(images) - [0, 1, 1, 0]
    squared_gradient = tf.square(tf.slice(down, [0] * 4, shape)) + tf.square(tf.slice(across, [0] * 4, shape))
    return tf.reduce_sum(tf.pow(squared_gradient, TV_POWER)) / batch_size


def _neighbour_difference(images: tf.Tensor, axis: int) -> tf.Tensor:
    # tf.slice, not [1:]: the gradient of a strided slice is a slow single-threaded kernel
    shape = tf.shape(images)
    step = tf.one_hot(axis, 4, dtype=tf.int32)
    return tf.slice(images, step, shape - step) - tf.slice(images, [0, 0, 0, 0], shape - step)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


def _ratio(squares: tf.Tensor, energy: tf.Tensor) -> tf.Tensor:
    # features of a real picture have an energy far above this; of all zeros they must not make NaN
    return squares / tf.maximum(energy, tf.constant(1e-20, energy.dtype))


def _exact(values: tf.Tensor) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def _size(
    divisor: Divisor, feature_map: tf.Tensor, dtype: tf.DType, image_pixels: tf.Tensor | int = 1
) -> tf.Tensor:
    """The value of `divisor` for feature maps [B, H, W, C] of images of `image_pixels`. Scalar."""
    height, width, channels = tf.unstack(tf.cast(tf.shape(feature_map), dtype)[1:])
    return (
        tf.constant(divisor.factor, dtype)
        * tf.pow(height * width, divisor.pixels)
        * tf.pow(channels, divisor.channels)
        * tf.pow(tf.cast(image_pixels, dtype), divisor.image_pixels)
    )
