"""The fixed figures of the optimizer and of the terms of a training step.

This module imports no TensorFlow, because tools/jax_port uses it too.
"""

DECAY_SHARE = 0.25  # of the steps, the last ones; measured in benchmarks/README.md
WARMUP_STEPS = 100  # Adam's first steps have unsettled moments; large ones saturate the output
BETA1, BETA2 = 0.9, 0.999  # Adam: Kingma & Ba 2014
MUON_RATE = 10.0  # Muon's learning rate as a multiple of Adam's: 0.02 to 2e-3 (benchmarks/README.md)
MOMENTUM = 0.95  # Muon: Jordan et al. 2024
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's polynomial: singular values end between 0.7 and 1.2
# Epsilon of Adam, as a share of the root mean square of the gradient; it is added to the root of the second moment.
# Kingma & Ba's absolute 1e-8 only suits losses of about 1: gradients of preset johnson are near 1e-9, those of
# lengstrom near 1e4. Where the true gradient is zero (an offset that the next instance norm removes), epsilon keeps
# Adam from amplifying rounding errors.
EPSILON_SHARE = 1e-6
NORM_DECAY = 0.98  # of the running mean of gradient norms, which covers about 50 steps
NORM_SETTLED = 50  # updates before this mean is used for clipping

# The terms lattice and stability: errors relative to the contrast of a picture.
LEAST_ERROR = 1e-4  # of the contrast; below it the gradient of the root vanishes
# Standard deviation in levels. A picture with less, such as that of a new network, counts as if it had it.
LEAST_CONTRAST = 16.0
# Pixels. In smaller windows strokes alone make the means differ; larger ones miss weaves that change with the color.
LATTICE_WINDOW = 64
LATTICE_WEIGHT = 1.0  # relative to the perceptual loss
