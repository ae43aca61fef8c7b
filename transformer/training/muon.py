"""The direction of Muon: momentum whose singular values are all brought to about 1.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. A gradient of a kernel has a few large singular values
and many small ones. Muon moves the kernel by the same amount along all of them.
"""

from collections.abc import Sequence

import tensorflow as tf

from transformer.training.hyperparameters import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS


def muon_directions(moments: Sequence[tf.Tensor], shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
    """Returns the direction of each kernel in a row [k*k*in*out], from its momentum [k*k*in*out].

    shapes: those of the kernels, [k, k, in, out]; each is taken as the matrix [k*k*in, out].
    """
    by_shape = {}  # kernels of one shape are orthogonalized together
    for index, (moment, shape) in enumerate(zip(moments, shapes, strict=True)):
        matrix = tf.reshape(moment, [-1, shape[-1]])
        by_shape.setdefault(tuple(matrix.shape), []).append((index, matrix))
    directions = {}
    for (rows, columns), members in by_shape.items():
        scale = (
            max(1.0, rows / columns) ** 0.5
        )  # the outputs change by the same, however many inputs they sum
        rotations = scale * orthogonalized(tf.stack([matrix for _, matrix in members]))
        for (index, _), rotation in zip(members, tf.unstack(rotations), strict=True):
            directions[index] = tf.reshape(rotation, [-1])
    return [directions[index] for index in range(len(moments))]


def orthogonalized(matrices: tf.Tensor) -> tf.Tensor:
    """Returns about UV' for each matrix USV' of [..., rows, columns]: all singular values become about 1.

    Computed with Newton-Schulz iterations instead of a decomposition. A matrix of zeros stays zero.
    """
    rows, columns = matrices.shape[-2:]
    if rows > columns:  # the products are then as small as possible
        return tf.linalg.matrix_transpose(orthogonalized(tf.linalg.matrix_transpose(matrices)))
    a, b, c = NEWTON_SCHULZ
    values = tf.math.divide_no_nan(matrices, tf.norm(matrices, axis=(-2, -1), keepdims=True))
    for _ in range(NEWTON_SCHULZ_STEPS):
        squares = tf.matmul(values, values, transpose_b=True)  # [..., rows, rows]
        values = a * values + tf.matmul(b * squares + c * tf.matmul(squares, squares), values)
    return values
