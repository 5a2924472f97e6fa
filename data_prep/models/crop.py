"""Cuts a model down: fewer modes, and the face out of a larger mesh."""

import dataclasses
import heapq

from jaxtyping import Float, Int
import numpy as np

from data_prep.models.landmark_checks import check_landmarks
from disentangle3d.faces.landmark_calibration import renumber_vertices
from disentangle3d.faces.morphable_model import MorphableModel, truncate_modes
from disentangle3d.types import NOSE_TIP, UserError


def cut_model(
  model: MorphableModel,
  *,
  identity_modes: int | None = None,
  expression_modes: int | None = None,
  nearest_vertices: int = 0,
) -> MorphableModel:
  """The model with fewer modes and vertices, its landmarks checked.

  Args:
    model: What a reader gave.
    identity_modes: How many to keep, from the first; None for all.
    expression_modes: The same for expression.
    nearest_vertices: How many vertices nearest the nose tip; 0 for all.

  Raises:
    UserError: The landmarks cannot be those of a face, before or after the
      crop, or there are fewer modes or vertices.
  """
  check_landmarks(model)
  model = truncate_modes(
    model,
    identity_modes or model.identity_dim,
    expression_modes or model.expression_dim,
  )
  if nearest_vertices:
    model = nearest_to_nose(model, nearest_vertices)
    check_landmarks(model)
  return model


def nearest_to_nose(model: MorphableModel, num_vertices: int) -> MorphableModel:
  """Keeps the vertices of the mean shape that are nearest the nose tip.

  The crop grows from the nose tip triangle by triangle across shared edges,
  always by the triangle whose farthest vertex is nearest. So it is connected,
  every vertex belongs to a triangle, and the number is met exactly.

  Args:
    model: A model with a vertex for the nose tip.
    num_vertices: How many vertices to keep.

  Returns:
    The model of these vertices in their old order: triangles and landmarks
    renumbered (-1 where a landmark was cut off), as in the landmarks'
    calibration, the mirror map kept where the crop is symmetric,
    `source_vertices` the index in the source mesh.

  Raises:
    UserError: There is no nose tip, or fewer vertices hang together with it.
  """
  nose = int(model.landmark_vertices[NOSE_TIP])
  if nose < 0:
    raise UserError(
      "landmark_vertices: expected a vertex for the nose tip (landmark"
      f" {NOSE_TIP}) to crop around, got none"
    )
  if not 3 <= num_vertices <= model.num_vertices:
    raise UserError(
      f"nearest_vertices: expected 3 to {model.num_vertices}, the vertices of"
      f" {model.name}, got {num_vertices}"
    )
  triangles = np.asarray(model.triangles)
  distance = np.linalg.norm(model.mean_shape - model.mean_shape[nose], axis=-1)
  kept = _grow(triangles, distance, nose, num_vertices)
  renumbered = np.full(model.num_vertices, -1, np.int32)
  renumbered[kept] = np.arange(num_vertices)
  corners = renumbered[triangles]
  landmarks = np.asarray(model.landmark_vertices)
  mirror = None
  if model.mirror_vertices is not None:
    mirror = renumbered[np.asarray(model.mirror_vertices)[kept]]
    mirror = None if mirror.min() < 0 else mirror
  source = model.source_vertices
  calibration = model.landmark_calibration
  if calibration is not None:
    calibration = renumber_vertices(calibration, renumbered)
  return dataclasses.replace(
    model,
    mean_shape=model.mean_shape[kept],
    identity_basis=model.identity_basis[kept],
    expression_basis=model.expression_basis[kept],
    triangles=corners[corners.min(1) >= 0],
    landmark_vertices=np.where(landmarks < 0, -1, renumbered[landmarks]),
    mirror_vertices=mirror,
    landmark_calibration=calibration,
    source_vertices=kept if source is None else source[kept],
    source=f"{model.source}; the {num_vertices} vertices nearest the nose tip",
  )


def _grow(
  triangles: Int[np.ndarray, "F 3"],
  distance: Float[np.ndarray, "V"],
  nose: int,
  num_vertices: int,
) -> Int[np.ndarray, "N"]:
  """The vertices of the crop, ascending."""
  farthest = distance[triangles].max(1)
  neighbours = _neighbours(triangles)
  start = np.flatnonzero((triangles == nose).any(1))
  if not start.size:
    raise UserError("triangles: expected some at the nose tip, got none")
  first = int(start[farthest[start].argmin()])
  # An edge has two vertices of the crop, so each triangle adds at most one.
  queue, seen = [(0.0, first)], {first}
  kept: set[int] = set()
  while queue and len(kept) < num_vertices:
    _, triangle = heapq.heappop(queue)
    kept.update(triangles[triangle].tolist())
    for other in neighbours[triangle]:
      if other not in seen:
        seen.add(other)
        heapq.heappush(queue, (float(farthest[other]), other))
  if len(kept) < num_vertices:
    raise UserError(
      f"nearest_vertices: expected at most {len(kept)}, the vertices that hang"
      f" together with the nose tip, got {num_vertices}"
    )
  return np.array(sorted(kept), np.int32)


def _neighbours(triangles: Int[np.ndarray, "F 3"]) -> list[list[int]]:
  """For each triangle, those that share an edge with it."""
  edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
  key = edges[:, 0].astype(np.int64) * (triangles.max() + 1) + edges[:, 1]
  order = np.argsort(key, kind="stable")
  same = np.flatnonzero(key[order][1:] == key[order][:-1])
  found: list[list[int]] = [[] for _ in triangles]
  for one, two in zip(order[same] // 3, order[same + 1] // 3, strict=True):
    found[one].append(int(two))
    found[two].append(int(one))
  return found
