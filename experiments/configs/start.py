r"""A network to start with, to ship in the package: a photo in, a face out.

What: tiny trunk, ICT-FaceKit's sizes, on 120,000 photographs of 12,000 people
of the synthetic world in real people's skins, with their true coefficients, in
the crops that the landmark network cuts; from nothing that is not free. Adam;
flips, and a pixel's play of the alignment. ArcFace's head: of real people held
out it recognises more than a softmax. III has the four losses of
photographs.py beside the paper's.
The world: python -m data_prep.render_synthetic --morphable_model=ict.npz \
  --skins=auto --landmark_calibration="synthetic 68" --jaw=fixed_vertices \
  --labels=true --people=12000 --photos_per_person=10 --heldout_people=100 \
  --seed=1 --template=whole_face --output=set
Command: python -m experiments.train --config=start \
  --workdir=<folder> --config.examples.path=set
Time: half an hour on 2 cores, rendering (10 minutes) aside. Accuracy:
docs/network.md.
For the package: python -m experiments.ship_network --network=<folder> \
  --output=<folder>
"""

from ml_collections import ConfigDict

from disentangle3d.crop_templates import WHOLE_FACE
from experiments.configs import default, demo, photographs

BATCH_SIZE = 64
STEPS_PER_EPOCH = 1_875
LATENT_STEPS = 8 * STEPS_PER_EPOCH
JOINT_STEPS = 2_500


def get_config() -> ConfigDict:
  """The demo's rates; eight epochs of phase I, one and a third twice of III."""
  config = demo.base_config()
  sizes = photographs.get_config().model
  for name in ("identity_dim", "residual_dim", "num_vertices"):
    config.model[name] = sizes[name]
  config.model.template = WHOLE_FACE
  config.augmentation.flip = 0.5
  config.augmentation.translation_px = 1
  config.identity_head.kind = "arcface"
  config.identity_head.margins.arcface = 0.3
  config.log_every = 100
  config.checkpoint_every = 200
  config.evaluators.reconstruction.every = STEPS_PER_EPOCH
  config.evaluators.verification.every = STEPS_PER_EPOCH

  demo.lengthen(
    config,
    batch_size=BATCH_SIZE,
    latent_steps=LATENT_STEPS,
    joint_steps=JOINT_STEPS,
  )
  config.phases.latents.optimizers.encoder.schedule.warmup_steps = 100
  # Recognition from photographs is what synthetic shapes teach least.
  for name, weight in zip(default.JOINT, (0.2, 0.5), strict=True):
    config.phases[name].weights.reconstruction = weight
  default.keep_identity_out(config, identity_shape=0.5)
  return config
