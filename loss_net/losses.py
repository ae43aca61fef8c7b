"""The losses of neural style transfer as pure functions of tensors.

Gatys et al. 2016 (https://arxiv.org/abs/1508.06576) and Johnson et al. 2016 (https://arxiv.org/abs/1603.08155).
Everything is computed in float32, whatever type the feature maps have.
"""

import tensorflow as tf


def gram_matrix(feature_map: tf.Tensor) -> tf.Tensor:
    """Channel correlations of feature maps [B, H, W, C], divided by H*W*C: [B, C, C] float32.

    The division makes pictures of different sizes comparable and follows Johnson et al., equation 3.
    """
    shape = tf.shape(feature_map)
    features = tf.reshape(feature_map, [shape[0], shape[1] * shape[2], feature_map.shape[3]])  # [B, N, C]
    return _correlations(features) / tf.cast(shape[1] * shape[2] * shape[3], tf.float32)


@tf.custom_gradient
def _correlations(features: tf.Tensor) -> tf.Tensor:
    """F'F in float32 of features [B, N, C]: [B, C, C].

    With its own gradient, F (G + G'): one product where differentiating F'F by parts takes two, and computed
    in the features' own type, in which that gradient is handed on anyway.
    """
    exact = tf.cast(features, tf.float32)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:  # [B, C, C] -> [B, N, C]
        both = upstream + tf.linalg.matrix_transpose(upstream)
        return tf.matmul(features, tf.cast(both, features.dtype))

    return tf.matmul(exact, exact, transpose_a=True), gradient


def mean_squared_difference(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Mean over all elements of the squared difference; the shapes may broadcast. Scalar float32."""
    return tf.reduce_mean(tf.math.squared_difference(tf.cast(left, tf.float32), tf.cast(right, tf.float32)))


def content_loss(stylized_map: tf.Tensor, content_map: tf.Tensor) -> tf.Tensor:
    """How far one layer's feature map [B, H, W, C] is from the content's. Scalar float32."""
    return mean_squared_difference(stylized_map, content_map)


def style_loss(stylized_map: tf.Tensor, style_gram: tf.Tensor) -> tf.Tensor:
    """How far one layer's Gram matrix is from the style's [1 or B, C, C]; map [B, H, W, C]. Scalar float32."""
    return mean_squared_difference(gram_matrix(stylized_map), style_gram)


def total_variation_loss(images: tf.Tensor, reduction: str = "mean") -> tf.Tensor:
    """Squared differences of neighbouring pixels down and across, images [B, H, W, C]. Scalar float32.

    `reduction` is "mean" (the two means are added, lengstrom) or "sum" (Torch implementations; the sum per
    image, averaged over the batch). A side of one pixel has no neighbours and adds 0.
    """
    # tf.slice, not [1:]: the gradient of a strided slice is a slow single-threaded kernel
    down = _squared_neighbour_difference(images, axis=1)
    across = _squared_neighbour_difference(images, axis=2)
    if reduction == "mean":
        return tf.math.divide_no_nan(
            tf.reduce_sum(down), tf.cast(tf.size(down), tf.float32)
        ) + tf.math.divide_no_nan(tf.reduce_sum(across), tf.cast(tf.size(across), tf.float32))
    if reduction == "sum":
        return (tf.reduce_sum(down) + tf.reduce_sum(across)) / tf.cast(tf.shape(images)[0], tf.float32)
    raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")


def _squared_neighbour_difference(images: tf.Tensor, axis: int) -> tf.Tensor:
    shape = tf.shape(images)
    step = tf.one_hot(axis, 4, dtype=tf.int32)
    ahead = tf.slice(images, step, shape - step)
    behind = tf.slice(images, [0, 0, 0, 0], shape - step)
    return tf.math.squared_difference(ahead, behind)
