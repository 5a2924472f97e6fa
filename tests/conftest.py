"""Eight fake CPU devices and strict shapes, set before any backend starts."""

from absl import flags
from absl.testing import absltest  # noqa: F401  (defines the flags parsed here)
import jax

flags.FLAGS(["pytest"])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
