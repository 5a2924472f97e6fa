r"""What a small trunk learns of the synthetic world in an hour or two on a CPU.

What: tiny trunk, the procedural world's sizes, on 120,000 photos of 15,000
people with their true coefficients, whole faces, heads turned evenly.
The world: python -m data_prep.render_synthetic --labels=true --people=15000 \
  --photos_per_person=8 --template=whole_face --yaw_distribution=uniform \
  --output=set
Command: python -m experiments.train --config=synthetic_long \
  --workdir=<folder> --config.examples.path=set
Accuracy: docs/measurements/learning.md.
"""

from ml_collections import ConfigDict

from disentangle3d.crop_templates import WHOLE_FACE
from experiments.configs import default, demo

BATCH_SIZE = 64
# Eight epochs of phase I; half of one of phase III.
STEPS_PER_EPOCH = 1_875
LATENT_STEPS = 8 * STEPS_PER_EPOCH
JOINT_STEPS = 500


def get_config() -> ConfigDict:
  """The demo's rates, in III about a quarter of them."""
  config = demo.base_config()
  config.model.template = WHOLE_FACE
  config.augmentation.flip = 0.5
  config.log_every = 100
  config.checkpoint_every = 500
  config.evaluators.verification.every = STEPS_PER_EPOCH

  demo.lengthen(
    config,
    batch_size=BATCH_SIZE,
    latent_steps=LATENT_STEPS,
    joint_steps=JOINT_STEPS,
  )
  default.keep_identity_out(config, identity_shape=0.5)
  # At the demo's rates III spoils more of the shapes.
  for name in default.JOINT:
    config.phases[name].optimizers.encoder.rate = 2e-4
    config.phases[name].optimizers.decoders.rate = 7e-4
  return config
