"""The random parameters that a training starts from. This module imports no TensorFlow; tools/jax_port uses it too."""

import numpy as np

from transformer.architecture import Architecture


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Returns random float32 parameters by name: He-normal kernels, unit scales, zero offsets and biases.

    He et al. 2015, https://arxiv.org/abs/1502.01852.

    The output must be small at the start, because a saturated tanh passes no gradient and leaves holes in the image
    that stay. The gain of the last layer makes it small. Small random kernels would do so too, but Adam changes every
    weight by about the learning rate, so sums over many small weights would jump from step to step.

    Every residual block starts as the identity: the second scale of the block is zero (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, section 5.1). The photo reaches the decoder undistorted, and the network learns
    the content sooner.
    """
    generator = np.random.default_rng(seed)
    block_ends = {second.name for _, second in architecture.residual}
    unit_scales = {f"{spec.name}/scale" for spec in architecture.convolutions if spec.name not in block_ends}
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        if name.endswith("kernel"):
            deviation = np.sqrt(2.0 / np.prod(shape[:3]))
            parameters[name] = generator.normal(0.0, deviation, shape).astype(np.float32)
        else:
            parameters[name] = np.full(shape, float(name in unit_scales), np.float32)
    return parameters
