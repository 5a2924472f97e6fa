"""Residual codes and cameras of a film, smoothed over time."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from disentangle3d.geometry import Camera, nearest_rotation
from experiments.photographs.shapes import Codes


def smooth_over_time(
  codes: Codes,
  cameras: Camera,
  known: Bool[np.ndarray, "N"],
  times: Float[np.ndarray, "N"],
  *,
  sigma: float,
) -> tuple[Codes, Camera]:
  """Residual codes and cameras under a Gaussian over time.

  Args:
    codes: `[N, ...]`.
    cameras: In photo pixels, `[N]`.
    known: Whether a camera comes from landmarks; others neither give nor
      take.
    times: Frame numbers.
    sigma: Standard deviation, in frames.

  Returns:
    Both, smoothed; identity codes stay.
  """
  apart = times[:, None] - times[None]
  weights = np.exp(-0.5 * (apart / sigma) ** 2)
  residual = weights @ codes.residual / weights.sum(1, keepdims=True)
  seen = weights * known[None]
  seen = np.where(known[:, None], seen, np.eye(len(times)))
  seen /= seen.sum(1, keepdims=True)
  rotation = nearest_rotation(
    jnp.asarray(np.einsum("nm,mij->nij", seen, cameras.rotation), jnp.float32)
  )
  smoothed = Camera(
    scale=np.exp(seen @ np.log(cameras.scale)).astype(np.float32),
    rotation=np.asarray(rotation),
    translation=(seen @ cameras.translation).astype(np.float32),
  )
  return Codes(codes.identity, residual.astype(np.float32)), smoothed


def smooth_tracks(
  codes: Codes,
  cameras: Camera,
  known: Bool[np.ndarray, "N"],
  times: Float[np.ndarray, "N"],
  tracks: Int[np.ndarray, "N"],
  *,
  sigma: float,
) -> tuple[Codes, Camera]:
  """`smooth_over_time`, each track by itself; `tracks` says whose a face is."""
  residual = np.array(codes.residual, np.float32)
  smoothed = jax.tree.map(np.array, cameras)
  for track in np.unique(tracks):
    rows = np.flatnonzero(tracks == track)
    own, seen = smooth_over_time(
      Codes(codes.identity[rows], codes.residual[rows]),
      jax.tree.map(lambda leaf, r=rows: leaf[r], cameras),
      known[rows],
      times[rows],
      sigma=sigma,
    )
    residual[rows] = own.residual
    for whole, part in zip(
      jax.tree.leaves(smoothed), jax.tree.leaves(seen), strict=True
    ):
      whole[rows] = part
  return Codes(codes.identity, residual), smoothed
