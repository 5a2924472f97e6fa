"""The demo's joint phases without the identification loss.

What: what a gain of phase III over I + II has to be shown against: the same
steps, orders and rates from the same params, the weight of L_C at 0.
Command: python -m experiments.train \
  --config=demo_control --workdir=<another folder> \
  --config.examples.path=<folder> \
  --config.init_from=<demo workdir>/export/decoders
"""

from ml_collections import ConfigDict

from experiments.configs import default, demo


def get_config() -> ConfigDict:
  """The demo's config, its two joint phases only, identification 0."""
  config = demo.get_config()
  config.run_phases = default.JOINT
  config.export_phases = ()
  for name in config.run_phases:
    config.phases[name].weights.identification = 0.0
  return config
