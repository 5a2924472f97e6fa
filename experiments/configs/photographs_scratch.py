"""Real people, from a synthetic network or from nothing.

What: the three phases on a dataset of photographs with the trunk `tiny`, all
of it trained. From a network of the synthetic world of the same 3DMM
(`--config.init_from`) or fresh. Of 20,904 photographs these are 8 epochs of
phase I and 4 + 4 of phase III, with flips.
Command: python -m experiments.train \
  --config=photographs_scratch --workdir=<folder> \
  --config.examples.path=<folder> \
  [--config.init_from=<workdir of the demo's training>]
"""

from ml_collections import ConfigDict

from experiments.configs import demo, photographs

BATCH_SIZE = 64
STEPS_PER_EPOCH = 327
LATENT_STEPS = 8 * STEPS_PER_EPOCH
JOINT_STEPS = 4 * STEPS_PER_EPOCH


def get_config() -> ConfigDict:
  """The demo's rates at ICT-FaceKit's sizes."""
  config = demo.base_config()
  sizes = photographs.get_config().model
  for name in ("identity_dim", "residual_dim", "num_vertices"):
    config.model[name] = sizes[name]
  config.augmentation.flip = 0.5
  config.log_every = 50
  demo.lengthen(
    config,
    batch_size=BATCH_SIZE,
    latent_steps=LATENT_STEPS,
    joint_steps=JOINT_STEPS,
  )
  return config
