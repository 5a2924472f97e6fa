"""A small run on the synthetic world, for two CPU cores.

What: tiny trunk, the paper's 29,495 vertices and 199 + 29 latents, on 12,800
photos of 1,600 people from data_prep.render_synthetic --template=whole_face.
Template and flips bring 0.1 mm and 4 points of AUC; four losses of III take who
it is out of the residual code (docs/measurements/learning.md).
Command: python -m experiments.demo --workdir=runs/demo, or
  python -m experiments.train --config=demo \
  --workdir=<folder> --config.examples.path=<folder>
"""

from ml_collections import ConfigDict

from disentangle3d.crop_templates import WHOLE_FACE
from experiments.configs import default

LATENT_STEPS = 1_360
DECODER_STEPS = 300
JOINT_STEPS = 200


def get_config() -> ConfigDict:
  """As `paper_losses`, with four further losses and twice their lambda_R."""
  config = paper_losses()
  default.keep_identity_out(config, identity_shape=0.5)
  for name in default.JOINT:
    config.phases[name].weights.reconstruction *= 2
  return config


def paper_losses() -> ConfigDict:
  """As `base_config`, on crops by all 68 landmarks and their mirror images."""
  config = base_config()
  config.model.template = WHOLE_FACE
  config.augmentation.flip = 0.5
  return config


def base_config() -> ConfigDict:
  """Adam everywhere; 3.4 epochs of phase I, two of phase III."""
  config = default.get_config()
  config.model.trunk = "tiny"
  config.log_every = 25
  config.checkpoint_every = 1_000

  latents = config.phases.latents
  latents.steps = LATENT_STEPS
  latents.batch_size = 32
  latents.optimizers.encoder = default.warmup_cosine(
    "adam", 2e-3, warmup_steps=50, decay_steps=LATENT_STEPS
  )

  # A kernel starts near 0 and ends at columns of tens of millimetres, which
  # Adam can cross in 300 steps only at such a rate.
  decoders = config.phases.decoders
  decoders.steps = DECODER_STEPS
  decoders.batch_size = 64
  decoders.optimizers.decoders = default.warmup_cosine(
    "adam", 0.5, warmup_steps=10, decay_steps=DECODER_STEPS
  )

  for name in default.JOINT:
    joint = config.phases[name]
    joint.steps = JOINT_STEPS
    # Adam's pass over 20 million decoder weights costs as much as 32 images.
    joint.batch_size = 64
    joint.optimizers.encoder = default.optimizer("adam", 7e-4)
    joint.optimizers.decoders = default.optimizer("adam", 2.8e-3)
    joint.optimizers.identity_head = default.optimizer("adam", 1.4e-2)
  for optimizer in config.phases.joint_reconstruction.optimizers.values():
    schedule = optimizer.schedule
    schedule.kind = "warmup_cosine"
    schedule.decay_steps = JOINT_STEPS
  return config


def lengthen(
  config: ConfigDict, *, batch_size: int, latent_steps: int, joint_steps: int
) -> None:
  """Gives phase I and the two of phase III other lengths, rates with them."""
  latents = config.phases.latents
  latents.steps, latents.batch_size = latent_steps, batch_size
  latents.optimizers.encoder.schedule.decay_steps = latent_steps
  for name in default.JOINT:
    joint = config.phases[name]
    joint.steps, joint.batch_size = joint_steps, batch_size
  for optimizer in config.phases.joint_reconstruction.optimizers.values():
    optimizer.schedule.decay_steps = joint_steps
