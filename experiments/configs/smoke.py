"""Seconds on a CPU: every phase, tiny sizes, no dataset; for tests.

Command: python -m experiments.train --config=smoke \
  --workdir=<folder>
"""

from ml_collections import ConfigDict

from experiments.configs import demo


def get_config() -> ConfigDict:
  """The demo's config with a few steps on noise and a small mesh."""
  config = demo.base_config()
  config.model.identity_dim = 12
  config.model.residual_dim = 5
  config.model.num_vertices = 600
  config.examples.num_examples = 32
  config.examples.num_classes = 4
  config.log_every = 2
  config.checkpoint_every = 2
  for name in config.run_phases:
    config.phases[name].steps = 3
    config.phases[name].batch_size = 8
    config.phases[name].examples = "fake"
  config.phases.decoders.examples = "prior"
  return config
