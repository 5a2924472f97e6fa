"""The locator of landmarks that ships with the package.

What: 1.4 million parameters on photos of data_prep.render_landmark_photos;
about two hours on two CPU cores.
Command: python -m experiments.train_locator --config=locator \
  --config.photos=<folder> --workdir=<folder>
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """Adam, a cosine, the mean of late parameters."""
  config = ConfigDict()
  config.seed = 0
  # Folders of render_landmark_photos, separated by commas.
  config.photos = ""
  # Of every so many shards of a folder the last is held out.
  config.heldout_every = 12
  config.batch_size = 32
  config.steps = 12_000
  config.learning_rate = 1.2e-3
  config.warmup_steps = 400
  config.weight_decay = 1e-4
  config.clip_norm = 5.0
  # Of the running mean of the parameters, which is what is exported.
  config.mean_decay = 0.998
  config.log_every = 100
  config.evaluate_every = 1_000
  # Another run's export to start from; empty starts afresh.
  config.init_from = ""
  config.jitter = ConfigDict(
    {
      "least_side": 1.2,
      "most_side": 1.85,
      "shift": 0.09,
      "roll_deg": 12.0,
      "wide_roll_deg": 60.0,
      "wide_share": 0.2,
    }
  )
  config.weights = ConfigDict(
    {"depth": 0.15, "silhouette": 0.2, "visibility": 0.2}
  )
  return config
