"""Eight fake CPU devices and strict shapes, set before any backend starts."""

import os
import tempfile

from absl import flags
from absl.testing import absltest  # noqa: F401  (defines the flags parsed here)
import jax

flags.FLAGS(["pytest"])
# Binaries that tests start keep their programs for the next ones and the next
# run, but not among the user's.
os.environ.setdefault(
  "DISENTANGLE3D_COMPILATION_CACHE",
  f"{tempfile.gettempdir()}/disentangle3d-tests-{os.getuid()}",
)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
