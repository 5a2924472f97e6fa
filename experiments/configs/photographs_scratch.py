"""Real people, the whole of a small network trained: no published trunk.

What: the config `start` on a dataset of photographs in crops of the whole face,
from the network that ships (`--config.init_from`) or from nothing. Of 20,904
photographs these are 16 epochs of phase I and 4 + 4 of phase III; where as many
photos of the synthetic world with its true labels are mixed in, half of that of
each. People's mean is taken out of the photographs' fitted labels; the
synthetic world's stand where 0 is.
Command: python -m experiments.train \
  --config=photographs_scratch --workdir=<folder> \
  --config.examples.path=<folder> \
  [--config.init_from=<package>/networks/start] \
  [--config.examples.mixed_in=<render_synthetic's folder>]
Measured: docs/measurements/real_photographs.md.
"""

from ml_collections import ConfigDict

from experiments.configs import demo, start

STEPS_PER_EPOCH = 327
LATENT_STEPS = 16 * STEPS_PER_EPOCH
JOINT_STEPS = 4 * STEPS_PER_EPOCH


def get_config() -> ConfigDict:
  """The rates and losses of the network that ships, on labels of fits."""
  config = start.get_config()
  config.examples.centre_identities = True
  config.examples.mixed_in_repeat = 1
  config.log_every = 50
  for evaluator in config.evaluators.values():
    evaluator.every = STEPS_PER_EPOCH
  demo.lengthen(
    config,
    batch_size=start.BATCH_SIZE,
    latent_steps=LATENT_STEPS,
    joint_steps=JOINT_STEPS,
  )
  return config
