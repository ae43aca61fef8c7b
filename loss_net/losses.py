"""The losses of neural style transfer as pure functions of tensors.

Gatys et al. 2016 (https://arxiv.org/abs/1508.06576) and Johnson et al. 2016 (https://arxiv.org/abs/1603.08155).
Losses are computed in float32, also for bfloat16 feature maps, or in float64 for float64 feature maps. Sums of
squares are taken over each image and averaged over the batch.
"""

import tensorflow as tf

from loss_net.presets import PER_ELEMENT, PER_GRAM_ELEMENT, Divisor

TV_FORMS = ("mean_squares", "sum_squares", "sum_powers", "sum_absolutes")
TV_POWER = 1.25  # exponent of "sum_powers": beta / 2, Mahendran & Vedaldi 2014, arXiv:1412.0035, beta 2.5


def gram_matrix(feature_map: tf.Tensor, divisor: Divisor = PER_ELEMENT) -> tf.Tensor:
    """Returns the Gram matrices [B, C, C] of feature maps [B, H, W, C]: channel correlations / `divisor`.

    The default divisor, H*W*C, makes images of different sizes comparable: Johnson et al. 2016, equation 3.
    """
    shape = tf.shape(feature_map)
    features = tf.reshape(feature_map, [shape[0], shape[1] * shape[2], feature_map.shape[3]])  # [B, N, C]
    correlations = _correlations(features)
    return correlations / _size(divisor, feature_map, correlations.dtype)


@tf.custom_gradient
def _correlations(features: tf.Tensor) -> tf.Tensor:
    """Returns F'F [B, C, C] of features F [B, N, C], computed in float32 or float64.

    Its gradient is F (G + G') for the upstream gradient G [B, C, C]. This is one matrix product; automatic
    differentiation takes two. The product is computed in the type of the features, because the gradient is
    passed on in that type.
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
    """Returns the content loss of one layer, a scalar: the squared distance of two feature maps / `divisor`.

    Both feature maps are [B, H, W, C]. If `relative`, each image's squared distance is divided by the sum of
    squares of its content map, and `divisor` is not used.
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
    """Returns the style loss of one layer, a scalar: the squared distance of Gram matrices / `divisor`.

    stylized_map: feature map of the stylized images, [B, H, W, C].
    style_grams: Gram matrices of S styles, [S, C, C], computed with the same `gram_divisor`.
    blend_weights: weight of each style, [S]. By default the styles are averaged.
    relative: divide by the sum of squares of each style's own Gram matrix; `divisor` is not used.
    image_pixels: rows * columns of the stylized images, for divisors that depend on it.
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
    """Returns the total variation of images [B, H, W, C], a scalar.

    dy and dx are the differences of vertical and horizontal neighbors. The forms are:

    "mean_squares": mean dy^2 + mean dx^2 (lengstrom).
    "sum_squares": sum dy^2 + sum dx^2 (Torch programs).
    "sum_powers": sum (dx^2 + dy^2)^1.25 over the H-1 x W-1 pixels that have both neighbors (Keras).
    "sum_absolutes": sum |dy| + sum |dx| (TensorFlow).

    An image one pixel wide or high has no neighbors in that direction, which then adds 0. Raises ValueError for
    an unknown form.
    """
    if form not in TV_FORMS:
        raise ValueError(f"form must be one of {', '.join(TV_FORMS)}, got {form!r}")
    images = tf.convert_to_tensor(images)
    down, across = _neighbor_difference(images, axis=1), _neighbor_difference(images, axis=2)
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


def _neighbor_difference(images: tf.Tensor, axis: int) -> tf.Tensor:
    # tf.slice instead of [1:], because the gradient kernel of a strided slice runs in one thread
    shape = tf.shape(images)
    step = tf.one_hot(axis, 4, dtype=tf.int32)
    return tf.slice(images, step, shape - step) - tf.slice(images, [0, 0, 0, 0], shape - step)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


def _ratio(squares: tf.Tensor, energy: tf.Tensor) -> tf.Tensor:
    # 1e-20 is far below the energy of real features and prevents NaN where all features are 0
    return squares / tf.maximum(energy, tf.constant(1e-20, energy.dtype))


def _exact(values: tf.Tensor) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def _size(
    divisor: Divisor, feature_map: tf.Tensor, dtype: tf.DType, image_pixels: tf.Tensor | int = 1
) -> tf.Tensor:
    """Returns the value of `divisor`, a scalar, for feature maps [B, H, W, C] of images of `image_pixels`."""
    height, width, channels = tf.unstack(tf.cast(tf.shape(feature_map), dtype)[1:])
    return (
        tf.constant(divisor.factor, dtype)
        * tf.pow(height * width, divisor.pixels)
        * tf.pow(channels, divisor.channels)
        * tf.pow(tf.cast(image_pixels, dtype), divisor.image_pixels)
    )
