"""What is shown of a face: the face alone, with eyes where the mesh has holes.

For pictures only: no measure knows the vertices that are added here.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from disentangle3d.faces.cavities import Cavities, cavity_points, find_cavities
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import NOSE_TIP

_CHIN = 8
# How far from the nose tip the face goes, in its distance from the chin.
_REACH = 1.42


@dataclasses.dataclass(frozen=True, eq=False)
class DisplayMesh:
  """Triangles to show; `vertices` gives what they are of.

  Attributes:
    triangles: Of a shape's vertices and those added, `[F2, 3]`.
    cavities: That are closed.
  """

  triangles: Int[np.ndarray, "F2 3"]
  cavities: Cavities

  def vertices(
    self, shape: Float[np.ndarray, "V 3"]
  ) -> Float[np.ndarray, "V2 3"]:
    """The shape's vertices, and those that close its holes."""
    added = cavity_points(self.cavities, jnp.asarray(shape)[None])[0]
    return np.concatenate([shape, np.asarray(added)])

  def spread(self, values: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V2"]:
    """A number a vertex; those added take that of their border's vertex."""
    return np.concatenate([values, values[np.asarray(self.cavities.border)]])


def display_mesh(model: MorphableModel) -> DisplayMesh:
  """What to show of a model's shapes; all of it, if it has no chin or nose."""
  mean = np.asarray(model.mean_shape)
  shown = np.asarray(model.triangles)
  marks = np.asarray(model.landmark_vertices)
  if min(marks[NOSE_TIP], marks[_CHIN]) >= 0:
    nose, chin = mean[marks[NOSE_TIP]], mean[marks[_CHIN]]
    reach = _REACH * np.linalg.norm(nose - chin)
    near = np.linalg.norm(mean - nose[None], axis=1) < reach
    shown = shown[near[shown].all(1)]
  cavities = find_cavities(model)
  closing = np.asarray(cavities.triangles)
  return DisplayMesh(np.concatenate([shown, closing]), cavities)
