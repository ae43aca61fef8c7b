"""Trainings on a GPU machine that has JAX but no TensorFlow.

    python -m tools.jax_port.pack PACKED --jobs jobs.json --content-dir PHOTOS --val-dir PHOTOS --vgg VGG.h5
    python -m tools.jax_port.train PACKED RESULTS          # on the GPU machine: jax, numpy and Pillow
    python -m tools.jax_port.unpack PACKED RESULTS --output-dir checkpoints

jobs.json is a list of settings of train.py, such as {"style": "wave.jpg", "steps": 20000}. A job with "base": FOLDER of
paintings instead of "style" trains a base. `start_from` is "none", which is the default here, or an earlier job; "base"
is the job that trains the base. Presets lengstrom and balanced. tests/test_jax_port.py compares the step with that of
train.py.
"""
