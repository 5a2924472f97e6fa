"""Real people, from a published trunk that stands still.

What: the three phases on a dataset of photographs, with the trunk of
data_prep.import_trunk left as it is: two FC layers on top of it become
ICT-FaceKit's 100 + 29 coefficients. The identity code sees its 128 numbers; the
residual code sees its last map too (`model.residual_from_map`), as a feature
that tells people apart says next to nothing of their expression. What the trunk
makes of every crop, and of its mirror image, is computed once
(`examples.features_file` keeps it), and a step sees no crop. The paper trains
the trunk from scratch, with a softmax head and lambda_R 0.5 and 1. Here the
head is ArcFace's with a margin of 0.3; a softmax does as well. The head starts
from the class means of the fitted codes; five epochs each are enough. L_R lets
the residual part mend what the identity part has wrong, and so tell who it is:
it weighs 0.1, and L_R of each part by itself, which ties it to the fit's, 0.3
and 1. Two further terms keep the codes uncorrelated, and a person's residual
codes no more alike than those of others. Chosen by the 150 people held out.
Command: python -m experiments.train \
  --config=photographs --workdir=<folder> \
  --config.examples.path=<folder> --config.init_from=<import_trunk's folder> \
  --config.examples.features_file=<file>
With labels of scans among those of photographs (register_scans):
  --config.examples.mixed_in=<folder>
Or of synthetic people (render_synthetic --labels=true):
  --config.examples.mixed_in=<folder> --config.examples.mixed_in_repeat=1
The trunk too, at a tenth of its layers' rate:
  --config.examples.kind=grain and, for both joint phases,
  --config.phases.<phase>.optimizers.encoder.trunk_factor=0.1
The control: --config.phases.<phase>.weights.identification=0 for both.
Measured: docs/measurements/real_photographs.md, real_scans.md.
"""

from ml_collections import ConfigDict

from experiments.configs import default

# Epochs of 20,900 photographs.
BATCH_SIZE = 256
STEPS_PER_EPOCH = 82
LATENT_STEPS = 20 * STEPS_PER_EPOCH
JOINT_STEPS = 5 * STEPS_PER_EPOCH


def get_config() -> ConfigDict:
  """Adam; a still trunk; ICT-FaceKit's sizes."""
  config = default.get_config()
  config.model.trunk = "mobile128"
  config.model.identity_dim = 100
  config.model.residual_dim = 29
  config.model.num_vertices = 9_409
  config.model.residual_from_map = True
  config.examples.kind = "trunk_features"
  config.examples.centre_identities = True
  config.augmentation.flip = 0.5
  config.identity_head.kind = "arcface"
  config.identity_head.margins.arcface = 0.3
  config.log_every = STEPS_PER_EPOCH

  latents = config.phases.latents
  latents.steps = LATENT_STEPS
  latents.batch_size = BATCH_SIZE
  latents.optimizers.encoder = default.warmup_cosine(
    "adam", 1e-2, warmup_steps=50, decay_steps=LATENT_STEPS
  )
  latents.optimizers.encoder.trunk_factor = 0.0

  decoders = config.phases.decoders
  decoders.steps = 300
  decoders.batch_size = 64
  decoders.optimizers.decoders = default.warmup_cosine(
    "adam", 0.5, warmup_steps=10, decay_steps=300
  )

  for name in default.JOINT:
    joint = config.phases[name]
    joint.steps = JOINT_STEPS
    joint.batch_size = BATCH_SIZE
    joint.weights.reconstruction = 0.1
    joint.optimizers.encoder = default.optimizer("adam", 2e-3)
    joint.optimizers.encoder.trunk_factor = 0.0
    joint.optimizers.decoders = default.optimizer("adam", 2e-3)
    joint.optimizers.identity_head = default.optimizer("adam", 1e-2)
  for optimizer in config.phases.joint_reconstruction.optimizers.values():
    optimizer.schedule.kind = "warmup_cosine"
    optimizer.schedule.decay_steps = JOINT_STEPS
  default.keep_identity_out(config, identity_shape=0.3)
  return config
