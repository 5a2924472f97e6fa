"""Where on a model's surface a detector marks the 68 landmarks, how noisily.

A detector's points and a model's landmark vertices need not mean the same
places: a calibration says where on the surface the detector's are, as
barycentric points of triangles with an offset, and how they scatter, as a
covariance a landmark and range of yaw.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any, TypeVar

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.input_files import read_npz, stored_texts
from disentangle3d.output_files import replace_npz
from disentangle3d.types import (
  LANDMARK_MIRROR,
  NUM_LANDMARKS,
  UserError,
  check_array,
)

_Arrays = TypeVar("_Arrays", Array, np.ndarray)

_FORMAT = "disentangle3d landmark calibration, version 1"
_ARRAYS = {
  "triangle_vertices": (np.int32, "68 3"),
  "weights": (np.float32, "68 3"),
  "offset_mm": (np.float32, "68 3"),
  "covariance_mm2": (np.float32, "Y 68 2 2"),
  "yaw_edges_rad": (np.float32, "edges"),
}
_TEXTS = ("detector", "model", "source", "licence")
_ABOUT = "about"
# Before the names of its arrays in another file: a model's, a network's.
_STORED = "landmark_calibration."
# Barycentric weights are written as float32.
_SUM_TOLERANCE = 1e-4


class LandmarkCalibration(flax.struct.PyTreeNode):
  """Where a detector's 68 points are on a model's surface, how noisily.

  Attributes:
    triangle_vertices: The vertices whose weighted mean is the surface point,
      `[68, 3]` int32; all -1 where the model has no such landmark.
    weights: Barycentric, each three sum to 1, `[68, 3]`; 1, 0, 0 is a vertex.
    offset_mm: Added to the surface point, in the model's axes, `[68, 3]`.
    covariance_mm2: Of (detection - projected point) / camera scale for the Y
      ranges of |yaw|, `[Y, 68, 2, 2]`, x right, y down, in an upright face's
      image with the nose to the right or frontal; of a face turned to the
      left, landmarks change place with their mirror images and x its sign. Y
      is 0 where nothing is known of the noise.
    yaw_edges_rad: Where one range of |yaw| ends and the next begins,
      increasing, `[Y - 1]`.
    detector: The detector whose points these are.
    model: The name of the model.
    source: What it was measured on: photographs, counts, date.
    licence: Terms of use.
  """

  triangle_vertices: Int[Array | np.ndarray, "68 3"]
  weights: Float[Array | np.ndarray, "68 3"]
  offset_mm: Float[Array | np.ndarray, "68 3"]
  covariance_mm2: Float[Array | np.ndarray, "Y 68 2 2"]
  yaw_edges_rad: Float[Array | np.ndarray, "edges"]
  detector: str = flax.struct.field(pytree_node=False, default="unknown")
  model: str = flax.struct.field(pytree_node=False, default="unnamed")
  source: str = flax.struct.field(pytree_node=False, default="unknown")
  licence: str = flax.struct.field(pytree_node=False, default="unknown")

  @property
  def num_yaw_ranges(self) -> int:
    """Y; 0 where nothing is known of the noise."""
    return self.covariance_mm2.shape[0]

  @property
  def provenance(self) -> dict[str, str]:
    """Detector, model, source and licence, for whatever was made with it."""
    return {text: getattr(self, text) for text in _TEXTS}


def calibrated_points(
  calibration: LandmarkCalibration, shape: Float[Array | np.ndarray, "*B V 3"]
) -> Float[Array, "*B 68 3"]:
  """The 3D points of shapes that a detector would mark.

  Args:
    calibration: Where they are on the mesh.
    shape: Shapes of the model, `[..., V, 3]`, mm.

  Returns:
    Points, `[..., 68, 3]`, mm; vertex 0's where the model has no such
    landmark.

  Raises:
    ValueError: `shape` does not end in `[V, 3]`.
  """
  check_array("shape", shape, "... V 3")
  points = surface_points(calibration, shape, axis=-2)
  offset = jnp.asarray(calibration.offset_mm)
  return points + offset.reshape((1,) * (points.ndim - 2) + offset.shape)


def surface_points(
  calibration: LandmarkCalibration,
  values: Float[Array | np.ndarray, "..."],
  *,
  axis: int,
) -> Float[Array, "..."]:
  """Values of vertices at the landmarks' places on the surface, no offset.

  Args:
    calibration: Where they are on the mesh.
    values: With V along `axis`: a shape, or a basis.
    axis: Of the vertices.

  Returns:
    The same with 68 in place of V.
  """
  values = jnp.asarray(values)
  along = [1] * values.ndim
  along[axis] = NUM_LANDMARKS
  corners = jnp.maximum(jnp.asarray(calibration.triangle_vertices), 0)
  weights = jnp.asarray(calibration.weights)
  # Written out: a product in fewer bits would move a point on a vertex.
  one, two, three = (
    weights[:, corner].reshape(along)
    * jnp.take(values, corners[:, corner], axis=axis)
    for corner in range(3)
  )
  return one + two + three


def main_vertices(calibration: LandmarkCalibration) -> Int[Array, "68"]:
  """The vertex with the largest weight in each landmark, or -1."""
  corners = jnp.asarray(calibration.triangle_vertices)
  heaviest = jnp.argmax(jnp.asarray(calibration.weights), 1)
  return jnp.take_along_axis(corners, heaviest[:, None], 1)[:, 0]


def known_landmarks(calibration: LandmarkCalibration) -> Float[Array, "68"]:
  """1 for each landmark that the calibration has a point for, else 0."""
  corners = jnp.asarray(calibration.triangle_vertices)
  return (corners[:, 0] >= 0).astype(jnp.float32)


def landmark_covariance(
  calibration: LandmarkCalibration,
  yaw_rad: Float[Array, "*B"],
  roll_rad: Float[Array, "*B"],
) -> Float[Array, "*B 68 2 2"]:
  """The landmarks' noise in images of faces so turned.

  Args:
    calibration: With one range of yaw or more.
    yaw_rad: `[...]`; positive has the nose to the image's right.
    roll_rad: `[...]`; positive is counter-clockwise as seen.

  Returns:
    Covariances, `[..., 68, 2, 2]`, mm^2 (times the camera's scale squared:
    px^2), in the image's axes, x right, y down.

  Raises:
    ValueError: The calibration has no covariance, or the shapes disagree.
  """
  check_array("yaw_rad", yaw_rad, "...")
  if roll_rad.shape != yaw_rad.shape:
    raise ValueError(
      f"roll_rad: expected shape {list(yaw_rad.shape)} as yaw_rad has, got"
      f" {list(roll_rad.shape)}"
    )
  if not calibration.num_yaw_ranges:
    raise ValueError("calibration: expected one with a covariance, got none")
  right = jnp.asarray(calibration.covariance_mm2)
  left = mirrored_covariance(right)
  edges = jnp.asarray(calibration.yaw_edges_rad)
  edges = edges.reshape((1,) * yaw_rad.ndim + edges.shape)
  number = jnp.sum(jnp.abs(yaw_rad)[..., None] >= edges, -1)
  turned_right = (yaw_rad >= 0)[..., None, None, None]
  upright = jnp.where(
    turned_right, jnp.take(right, number, 0), jnp.take(left, number, 0)
  )
  cos, sin = jnp.cos(roll_rad), jnp.sin(roll_rad)
  # Counter-clockwise as seen, of vectors whose y points down.
  turn = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
  return jnp.einsum("...ab,...lbc,...dc->...lad", turn, upright, turn)


def mirrored_covariance(
  covariance: Float[_Arrays, "*B 68 2 2"],
) -> Float[_Arrays, "*B 68 2 2"]:
  """The noise of faces' mirror images, `[..., 68, 2, 2]`."""
  flip = np.array([[1, -1], [-1, 1]], covariance.dtype)
  flip = flip.reshape((1,) * (covariance.ndim - 2) + (2, 2))
  return covariance[..., LANDMARK_MIRROR, :, :] * flip


def renumber_vertices(
  calibration: LandmarkCalibration, numbers: Int[np.ndarray, "V"]
) -> LandmarkCalibration:
  """The calibration of a crop of the mesh.

  Args:
    calibration: Of the whole mesh.
    numbers: Each vertex's number in the crop, `[V]`, -1 where it is cut off.

  Returns:
    The same points; a landmark is lost where a vertex that it is on is.
  """
  corners = np.asarray(calibration.triangle_vertices)
  weights = np.asarray(calibration.weights)
  moved = np.where(corners < 0, -1, np.asarray(numbers)[corners])
  # A vertex without weight is not missed: another stands in for it.
  heaviest = np.take_along_axis(moved, weights.argmax(1)[:, None], 1)
  moved = np.where(weights == 0, heaviest, moved)
  lost = (moved < 0).any(1, keepdims=True)
  return dataclasses.replace(
    calibration, triangle_vertices=np.where(lost, -1, moved).astype(np.int32)
  )


def validate_landmark_calibration(
  calibration: LandmarkCalibration, *, num_vertices: int | None = None
) -> None:
  """Checks shapes, dtypes and values on the host.

  Args:
    calibration: What to check.
    num_vertices: V of the mesh that it is for, where that is known.

  Raises:
    UserError: Names the field, what was expected and what came.
    TypeError: A field has the wrong dtype.
  """
  sizes: dict[str, int] = {}
  for field, (dtype, shape) in _ARRAYS.items():
    array = getattr(calibration, field)
    kind = "integer" if dtype == np.int32 else "floating"
    sizes = check_array(field, array, shape, dtype=kind, sizes=sizes)
    if kind == "floating" and not np.isfinite(np.asarray(array)).all():
      raise UserError(f"{field}: expected finite numbers, got NaN or inf")
  corners = np.asarray(calibration.triangle_vertices)
  size = np.iinfo(np.int32).max if num_vertices is None else num_vertices
  missing = (corners == -1).all(1)
  if not (missing | ((corners >= 0) & (corners < size)).all(1)).all():
    raise UserError(
      f"triangle_vertices: expected indices from 0 to {size - 1}, or -1 at all"
      f" corners, got {corners.min()} to {corners.max()}"
    )
  weights = np.asarray(calibration.weights, np.float64)
  if weights.min() < 0 or np.abs(weights.sum(1) - 1).max() > _SUM_TOLERANCE:
    raise UserError(
      "weights: expected three from 0 to 1 a landmark whose sum is 1, got"
      f" {weights.min():.3g} to {weights.max():.3g}, sums"
      f" {weights.sum(1).min():.6g} to {weights.sum(1).max():.6g}"
    )
  _validate_noise(calibration)


def _validate_noise(calibration: LandmarkCalibration) -> None:
  covariance = np.asarray(calibration.covariance_mm2, np.float64)
  edges = np.asarray(calibration.yaw_edges_rad, np.float64)
  if len(edges) != max(len(covariance) - 1, 0):
    raise UserError(
      f"yaw_edges_rad: expected {max(len(covariance) - 1, 0)}, between"
      f" {len(covariance)} ranges of yaw, got {len(edges)}"
    )
  if not (np.diff(edges, prepend=0.0) > 0).all():
    raise UserError(
      f"yaw_edges_rad: expected increasing numbers above 0, got {edges}"
    )
  if not len(covariance):
    return
  determinant = (
    covariance[..., 0, 0] * covariance[..., 1, 1]
    - covariance[..., 0, 1] * covariance[..., 1, 0]
  )
  positive = (covariance[..., 0, 0] > 0) & (determinant > 0)
  symmetric = np.isclose(covariance[..., 0, 1], covariance[..., 1, 0])
  if not (positive & symmetric).all():
    place, landmark = np.argwhere(~(positive & symmetric))[0]
    raise UserError(
      "covariance_mm2: expected symmetric positive definite matrices, got"
      f" {covariance[place, landmark].tolist()} for landmark {landmark} in"
      f" range {place} of yaw"
    )


def save_landmark_calibration(
  path: str | os.PathLike[str], calibration: LandmarkCalibration
) -> None:
  """Writes an `.npz` (no pickle), by a rename at the end.

  Args:
    path: Where to write; the folder must exist.
    calibration: What to write; validated first.

  Raises:
    ValueError: The calibration is not valid.
  """
  validate_landmark_calibration(calibration)
  replace_npz(path, _to_arrays(calibration))


def load_landmark_calibration(
  path: str | os.PathLike[str],
) -> LandmarkCalibration:
  """Reads and validates what `save_landmark_calibration` wrote.

  Args:
    path: The `.npz`.

  Returns:
    The calibration, its arrays in host memory (NumPy).

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is not such a calibration; names file and problem.
  """
  content = read_npz(
    path,
    "a landmark calibration .npz",
    names=(*_ARRAYS, _ABOUT),
    otherwise="; make one with python -m data_prep.calibrate_landmarks",
  )
  try:
    calibration = _from_arrays(content)
    validate_landmark_calibration(calibration)
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(f"{path}: {error}") from error
  return calibration


def _to_arrays(calibration: LandmarkCalibration) -> dict[str, np.ndarray]:
  """Everything of a calibration by name, its texts as one array of JSON."""
  arrays = {
    field: np.asarray(getattr(calibration, field), dtype)
    for field, (dtype, _) in _ARRAYS.items()
  }
  about = calibration.provenance | {"format": _FORMAT}
  return arrays | {_ABOUT: np.array(json.dumps(about))}


def _from_arrays(content: Mapping[str, Any]) -> LandmarkCalibration:
  """Inverts `_to_arrays`; not validated.

  Raises:
    KeyError: Something is missing.
    ValueError: The texts are not JSON.
  """
  about = stored_texts(_ABOUT, content[_ABOUT])
  return LandmarkCalibration(
    **{field: content[field] for field in _ARRAYS},
    **{text: about[text] for text in _TEXTS},
  )


def stored_calibration(
  calibration: LandmarkCalibration | None,
) -> dict[str, np.ndarray]:
  """The arrays by which another file holds a calibration; empty for None."""
  if calibration is None:
    return {}
  arrays = _to_arrays(calibration)
  return {_STORED + name: array for name, array in arrays.items()}


def read_stored_calibration(
  content: Mapping[str, Any],
) -> LandmarkCalibration | None:
  """Inverts `stored_calibration`; None where a file holds none.

  Raises:
    KeyError: A part is missing.
    ValueError: The texts are not JSON.
  """
  arrays = {
    name.removeprefix(_STORED): array
    for name, array in content.items()
    if name.startswith(_STORED)
  }
  return _from_arrays(arrays) if arrays else None
