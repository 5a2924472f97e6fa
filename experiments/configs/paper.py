"""The paper's training on CASIA-WebFace (3.3.2 and 3.3.3).

What: SphereFace-20, 29,495 vertices, 199 + 29 latents, 488,848 photos of
10,575 people fitted by data_prep.fit_faces. Batch 256 makes 1,910 steps an
epoch. Where the paper is silent, SphereFace's published schedule (SGD, rate
down at 16,000 and 24,000 of 28,000 steps, weight decay 5e-4).
Command: python -m experiments.train --config=paper \
  --workdir=<folder> --config.examples.path=<folder>
Rates: tried for 120 + 150 + 30 steps of 32 synthetic photos, no more. Time and
accuracy: not yet measured. The paper: RMSE 2.01 mm on BU3DFE, LFW
accuracy 94.43 %.
"""

from ml_collections import ConfigDict

from disentangle3d.types import CASIA_NUM_CLASSES, CASIA_NUM_IMAGES
from experiments.configs import default

STEPS_PER_EPOCH = 1_910


def get_config() -> ConfigDict:
  """The paper's sizes; schedules in steps of 256."""
  config = default.get_config()
  config.examples.num_examples = CASIA_NUM_IMAGES
  config.examples.num_classes = CASIA_NUM_CLASSES

  latents = config.phases.latents
  latents.steps = 28_000
  # A tenth of SphereFace's rate: the loss is a sum over 228 latents.
  latents.optimizers.encoder = default.step_decay(
    "sgd", 0.01, boundaries=(16_000, 24_000)
  )
  latents.optimizers.encoder.weight_decay = 5e-4

  decoders = config.phases.decoders
  decoders.steps = 300
  decoders.batch_size = 64
  decoders.optimizers.decoders = default.warmup_cosine(
    "adam", 0.5, warmup_steps=10, decay_steps=300
  )

  recognition = config.phases.joint_recognition
  recognition.steps = 10 * STEPS_PER_EPOCH
  recognition.plateau.enabled = True
  reconstruction = config.phases.joint_reconstruction
  reconstruction.steps = 20 * STEPS_PER_EPOCH
  for joint in (recognition, reconstruction):
    for module in ("encoder", "identity_head"):
      joint.optimizers[module].weight_decay = 5e-4
  for optimizer in reconstruction.optimizers.values():
    schedule = optimizer.schedule
    schedule.kind = "step_decay"
    schedule.boundaries = (10 * STEPS_PER_EPOCH, 16 * STEPS_PER_EPOCH)
    schedule.final_factor = 0.1
  return config
