"""Tiny seeded models and paths that several tests share."""

import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np

from disentangle3d.faces.landmark_calibration import LandmarkCalibration
from disentangle3d.faces.morphable_model import MorphableModel

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def run_program(program: str) -> "subprocess.CompletedProcess[str]":
  """Runs Python code in a process of its own, and keeps what it tells."""
  return subprocess.run(
    [sys.executable, "-c", program],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    timeout=200,
    check=False,
  )


def free_port() -> int:
  """A port that nobody listens on now."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def random_leaves(shapes, seed: int = 0):
  """Arrays for a tree of shapes, spread as fresh params are, no entry 0."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: rng.normal(
      0, 1 / np.sqrt(max(np.prod(leaf.shape[:-1]), 4)), leaf.shape
    ).astype(np.float32),
    shapes,
  )


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


def random_calibration(
  model: MorphableModel,
  *,
  offset_mm: float = 3.0,
  noise_mm: float = 2.0,
  num_yaw_ranges: int = 3,
  seed: int = 0,
) -> LandmarkCalibration:
  """Landmarks inside random triangles at the model's, offsets and noise."""
  rng = np.random.default_rng(seed)
  corners = np.asarray(model.landmark_vertices)[:, None].repeat(3, 1)
  others = rng.integers(0, model.num_vertices, (68, 2))
  corners[:, 1:] = np.where(corners[:, 1:] < 0, -1, others)
  weights = np.array([[0.94, 0.04, 0.02]]).repeat(68, 0)
  root = rng.normal(size=(num_yaw_ranges, 68, 2, 2))
  covariance = root @ np.swapaxes(root, -1, -2) / 2 + 0.5 * np.eye(2)
  return LandmarkCalibration(
    triangle_vertices=corners.astype(np.int32),
    weights=weights.astype(np.float32),
    offset_mm=(offset_mm * rng.normal(size=(68, 3))).astype(np.float32),
    covariance_mm2=(noise_mm**2 * covariance).astype(np.float32),
    yaw_edges_rad=np.deg2rad(15.0 * np.arange(1, num_yaw_ranges)).astype(
      np.float32
    ),
    detector="random",
    model=model.name,
    source=f"tests, seed {seed}",
    licence="Apache-2.0",
  )
