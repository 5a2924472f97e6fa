"""Goes on from a synthetic training on a small folder of photographs.

What: the two joint phases on a dataset that data_prep.build_dataset made of
photographs, from a network trained on the synthetic world of the same 3DMM.
The sizes are ICT-FaceKit's; another 3DMM wants its own. Batches and steps are
for a few hundred photographs: about twelve epochs of 140. L_R knows only the
sum of the two parts, and on so few people the split drifts (identity shapes
grimaced): `identity_shape`, not in the paper, holds the identity's part at the
person's fit.
Command: python -m experiments.train \
  --config=folder_finetune --workdir=<folder> \
  --config.examples.path=<folder> \
  --config.init_from=<workdir of the demo's training> \
  [--config.model.template=whole_face, where the crops are, as the demo's]
"""

from ml_collections import ConfigDict

from experiments.configs import default, demo

JOINT_STEPS = 60


def get_config() -> ConfigDict:
  """The demo's rates, a fifth of them for the encoder; few steps."""
  config = demo.base_config()
  config.model.num_vertices = 9_409
  config.model.identity_dim = 100
  config.model.residual_dim = 29
  config.run_phases = default.JOINT
  config.export_phases = ()
  config.log_every = 5
  for name in config.run_phases:
    joint = config.phases[name]
    joint.steps = JOINT_STEPS
    joint.batch_size = 28
    joint.optimizers.encoder = default.optimizer("adam", 1e-4)
    joint.weights.identity_shape = 1.0
  for optimizer in config.phases.joint_reconstruction.optimizers.values():
    schedule = optimizer.schedule
    schedule.kind = "warmup_cosine"
    schedule.decay_steps = JOINT_STEPS
  return config
