"""Residual codes and cameras of a film, smoothed over time."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from disentangle3d.geometry import Camera, nearest_rotation
from experiments.photographs.shapes import Codes

# A weight so many standard deviations away is below the rounding of a sum.
_REACH = 9.0
_ROWS_AT_ONCE = 256


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
    times: Frame numbers, ascending.
    sigma: Standard deviation, in frames.

  Returns:
    Both, smoothed; identity codes stay.
  """
  smoothed: list[tuple[np.ndarray, Camera]] = []
  for start in range(0, len(times), _ROWS_AT_ONCE):
    rows = slice(start, start + _ROWS_AT_ONCE)
    reach = _REACH * sigma
    first = np.searchsorted(times, times[rows][0] - reach)
    last = np.searchsorted(times, times[rows][-1] + reach, "right")
    smoothed.append(
      _smoothed_rows(
        times[rows],
        times[first:last],
        codes.residual[first:last],
        jax.tree.map(lambda leaf, f=first, n=last: leaf[f:n], cameras),
        known[first:last],
        start - first,
        sigma,
      )
    )
  residual = np.concatenate([part for part, _ in smoothed])
  camera = jax.tree.map(
    lambda *leaves: np.concatenate(leaves), *(camera for _, camera in smoothed)
  )
  return Codes(codes.identity, residual), camera


def _smoothed_rows(
  rows: np.ndarray,
  times: np.ndarray,
  residual: np.ndarray,
  cameras: Camera,
  known: np.ndarray,
  place: int,
  sigma: float,
) -> tuple[np.ndarray, Camera]:
  """Residual and cameras at the times `rows`, the first at `place` of all."""
  apart = rows[:, None] - times[None]
  weights = np.exp(-0.5 * (apart / sigma) ** 2)
  made = weights @ residual / weights.sum(1, keepdims=True)
  own = np.eye(len(rows), len(times), place)
  here = known[place : place + len(rows), None]
  seen = np.where(here, weights * known[None], own)
  seen /= seen.sum(1, keepdims=True)
  rotation = nearest_rotation(
    jnp.asarray(np.einsum("nm,mij->nij", seen, cameras.rotation), jnp.float32)
  )
  return made.astype(np.float32), Camera(
    scale=np.exp(seen @ np.log(cameras.scale)).astype(np.float32),
    rotation=np.asarray(rotation),
    translation=(seen @ cameras.translation).astype(np.float32),
  )


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
