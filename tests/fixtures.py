"""Tiny seeded models and paths that several tests share."""

import pathlib

import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def random_morphable_model(
  *,
  num_vertices: int = 120,
  identity_dim: int = 12,
  expression_dim: int = 5,
  seed: int = 0,
) -> MorphableModel:
  """A head-sized ellipsoid of random points with random smooth-free modes."""
  rng = np.random.default_rng(seed)
  direction = rng.normal(size=(num_vertices, 3))
  direction /= np.linalg.norm(direction, axis=1, keepdims=True)
  decay = 1 / np.sqrt(1 + np.arange(identity_dim))
  return MorphableModel(
    mean_shape=(direction * [70, 95, 80]).astype(np.float32),
    identity_basis=(
      3 * rng.normal(size=(num_vertices, 3, identity_dim)) * decay
    ).astype(np.float32),
    expression_basis=(
      2 * rng.normal(size=(num_vertices, 3, expression_dim))
    ).astype(np.float32),
    triangles=rng.integers(0, num_vertices, (2 * num_vertices, 3), np.int32),
    landmark_vertices=rng.permutation(num_vertices)[:68].astype(np.int32),
    name="random points",
    source=f"tests, seed {seed}",
    licence="Apache-2.0",
  )
