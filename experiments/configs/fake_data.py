"""The paper's sizes on noise made on the device: measures images/s.

What: every phase on input from (seed, step); reads no dataset, so that the
step and the devices are all there is to measure.
Command: python -m experiments.train --config=fake_data \
  --workdir=<folder>
"""

from ml_collections import ConfigDict

from experiments.configs import default, paper


def get_config() -> ConfigDict:
  """The paper's config, 100 steps a phase, without a dataset."""
  config = paper.get_config()
  config.log_every = 20
  config.checkpoint_every = 100
  for name in config.run_phases:
    config.phases[name].steps = 100
  for name in ("latents", *default.JOINT):
    config.phases[name].examples = "fake"
  return config
