"""The paper's training on half a million synthetic photographs.

What: SphereFace-20, 29,495 vertices, 199 + 29 latents; epochs instead of
steps, so that the schedule is the same at every scale. Adam. In phase I 1e-3
saturates all codes of SphereFace-20 for good, within 45 steps of 16 photos and
500 of 256; 5e-4 did not in 130 steps of 16. The other rates are the demo's,
scaled to the batch.
Command: python -m experiments.paper_scale --workdir=<folder> [--scale=...]
"""

import copy

from ml_collections import ConfigDict, config_dict

from disentangle3d.types import CASIA_NUM_IMAGES
from experiments.configs import default
from experiments.configs._old_names import ByPhase

DECODER_STEPS = 300
WARMUP_STEPS = 100
# 3.3.3: lambda_R 0.5 until the loss saturates, "usually within 10 epochs";
# then 1, 20 more make about 30. Phase I: SphereFace's 28,000 steps of 256.
EPOCHS = {"latents": 15, "joint_recognition": 10, "joint_reconstruction": 20}


def get_config() -> ConfigDict:
  """The config for as many photos as CASIA-WebFace has."""
  config = default.get_config()
  # None: "float32" on a CPU, "bfloat16" on anything else.
  config.model.dtype = config_dict.placeholder(str)
  config.epochs = ByPhase(EPOCHS)
  config.batch_size = 256  # of phases I and III
  config.log_every = 50
  config.export_phases = ("decoders", "joint_recognition")

  config.phases.latents.optimizers.encoder = default.warmup_cosine(
    "adam", 3e-4, warmup_steps=WARMUP_STEPS, decay_steps=1_000
  )
  decoders = config.phases.decoders
  decoders.steps = DECODER_STEPS
  decoders.batch_size = 64
  decoders.optimizers.decoders = default.warmup_cosine(
    "adam", 0.5, warmup_steps=10, decay_steps=DECODER_STEPS
  )
  for name in default.JOINT:
    joint = config.phases[name]
    joint.optimizers.encoder = default.optimizer("adam", 5e-4)
    joint.optimizers.decoders = default.optimizer("adam", 2e-3)
    joint.optimizers.identity_head = default.optimizer("adam", 1e-2)
  for optimizer in config.phases.joint_reconstruction.optimizers.values():
    optimizer.schedule.kind = "warmup_cosine"
  return with_steps(config, CASIA_NUM_IMAGES)


def with_steps(config: ConfigDict, num_photos: int) -> ConfigDict:
  """A copy whose epochs are epochs of so many photos.

  Args:
    config: From `get_config`, with `epochs` and `batch_size` as they shall be.
    num_photos: An epoch.

  Returns:
    A config that `training.phases.phases_of` takes.
  """
  config = copy.deepcopy(config)
  for name, epochs in config.epochs.items():
    phase = config.phases[name]
    phase.batch_size = min(config.batch_size, num_photos)
    phase.steps = max(1, epochs * num_photos // phase.batch_size)
  first = config.phases.latents
  schedule = first.optimizers.encoder.schedule
  schedule.decay_steps = first.steps
  schedule.warmup_steps = min(WARMUP_STEPS, first.steps // 10)
  last = config.phases.joint_reconstruction
  for optimizer in last.optimizers.values():
    optimizer.schedule.decay_steps = last.steps
  return config
