"""Other ways to fit the same model to the same landmarks, to compare with.

`ScipyProblem` minimises the fitter's own objective by `scipy.optimize`, over
all unknowns at once. The package eos-py is in `data_prep.fitting.eos_fitter`.
"""

import dataclasses

from jaxtyping import Float
import numpy as np
import scipy.optimize
from scipy.spatial.transform import Rotation

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.geometry import Camera


@dataclasses.dataclass(frozen=True, eq=False)
class Unknowns:
  """All that a fit of one subject in N images finds.

  Attributes:
    identity: `[I]`.
    expression: `[N, E]`.
    quaternion: Cameras: scale is its square norm, rotation its direction
      (w, x, y, z), `[N, 4]`.
    translation: `[N, 2]`, px.
  """

  identity: Float[np.ndarray, "I"]
  expression: Float[np.ndarray, "N E"]
  quaternion: Float[np.ndarray, "N 4"]
  translation: Float[np.ndarray, "N 2"]


def unknowns_of(
  identity: np.ndarray, expression: np.ndarray, camera: Camera
) -> Unknowns:
  """One subject's coefficients and cameras as unknowns."""
  xyzw = Rotation.from_matrix(np.asarray(camera.rotation, float)).as_quat()
  size = np.sqrt(np.asarray(camera.scale, float))[:, None]
  return Unknowns(
    np.asarray(identity, float),
    np.asarray(expression, float),
    size * xyzw[:, [3, 0, 1, 2]],
    np.asarray(camera.translation, float),
  )


class ScipyProblem:
  """The objective of `fit_landmarks` as residuals with their Jacobian.

  A scaled rotation is quadratic in a quaternion, so that everything here is a
  product; nothing is shared with the fitter.
  """

  def __init__(
    self,
    model: MorphableModel,
    landmarks: Float[np.ndarray, "N 68 2"],
    visibility: Float[np.ndarray, "N 68"],
    *,
    landmark_std_px: float,
  ):
    """Takes one subject's images; every landmark has its vertex."""
    vertices = np.asarray(model.landmark_vertices)
    self._mean = np.asarray(model.mean_shape, float)[vertices]
    self._identity = np.asarray(model.identity_basis, float)[vertices]
    self._expression = np.asarray(model.expression_basis, float)[vertices]
    self._landmarks = np.asarray(landmarks, float)
    self._root = np.sqrt(np.asarray(visibility, float))
    self._std = landmark_std_px

  def minimum(self, start: Unknowns) -> float:
    """The objective that `scipy.optimize.least_squares` gets down to, px^2."""
    found = scipy.optimize.least_squares(
      self._residuals, self._flat(start), self._jacobian, x_scale="jac"
    )
    return 2 * float(found.cost)

  def objective(self, at: Unknowns) -> float:
    """The objective, px^2."""
    return float(np.sum(self._residuals(self._flat(at)) ** 2))

  def _flat(self, unknowns: Unknowns) -> np.ndarray:
    images = np.concatenate(
      [unknowns.expression, unknowns.quaternion, unknowns.translation], 1
    )
    return np.concatenate([unknowns.identity, images.ravel()])

  def _split(self, flat: np.ndarray) -> tuple[np.ndarray, ...]:
    count = self._identity.shape[-1]
    images = flat[count:].reshape(len(self._landmarks), -1)
    expression, quaternion, translation = np.split(images, [-6, -2], 1)
    return flat[:count], expression, quaternion, translation

  def _points(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
    person = self._mean + self._identity @ identity
    return person + np.einsum("lic,nc->nli", self._expression, expression)

  def _residuals(self, flat: np.ndarray) -> np.ndarray:
    identity, expression, quaternion, translation = self._split(flat)
    axes = np.stack([_axes(q) for q in quaternion])
    seen = np.einsum("nai,nli->nla", axes, self._points(identity, expression))
    apart = seen + translation[:, None] - self._landmarks
    return np.concatenate(
      [
        (self._root[..., None] * apart).ravel(),
        self._std * identity,
        self._std * expression.ravel(),
      ]
    )

  def _jacobian(self, flat: np.ndarray) -> np.ndarray:
    identity, expression, quaternion, _ = self._split(flat)
    points = self._points(identity, expression)
    images, num_identity = len(points), len(identity)
    width = expression.shape[1] + 6
    rows = 2 * points.shape[1]
    table = np.zeros((images * rows, len(flat)))
    for n in range(images):
      axes, slopes = _axes(quaternion[n]), _axes_slopes(quaternion[n])
      weight = self._root[n, :, None, None]
      place = slice(n * rows, (n + 1) * rows)
      first = num_identity + n * width
      table[place, :num_identity] = (
        weight * np.einsum("ai,lic->lac", axes, self._identity)
      ).reshape(rows, -1)
      own = np.concatenate(
        [
          np.einsum("ai,lic->lac", axes, self._expression),
          np.einsum("kai,li->lak", slopes, points[n]),
          np.broadcast_to(np.eye(2), (points.shape[1], 2, 2)),
        ],
        -1,
      )
      table[place, first : first + width] = (weight * own).reshape(rows, -1)
    prior = np.zeros((num_identity + expression.size, len(flat)))
    places = np.concatenate(
      [np.arange(num_identity)]
      + [
        num_identity + n * width + np.arange(expression.shape[1])
        for n in range(images)
      ]
    )
    prior[np.arange(len(places)), places] = self._std
    return np.concatenate([table, prior])


def _axes(q: np.ndarray) -> np.ndarray:
  """Linear part of the camera, `[2, 3]`: the second row looks down."""
  w, x, y, z = q
  return np.array(
    [
      [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [
        -2 * (x * y + w * z),
        -(w * w - x * x + y * y - z * z),
        -2 * (y * z - w * x),
      ],
    ]
  )


def _axes_slopes(q: np.ndarray) -> np.ndarray:
  """Derivatives of `_axes` by the quaternion, `[4, 2, 3]`."""
  w, x, y, z = q
  return 2 * np.array(
    [
      [[w, -z, y], [-z, -w, x]],
      [[x, y, z], [-y, x, w]],
      [[-y, x, w], [-x, -y, -z]],
      [[-z, -w, x], [-w, z, -y]],
    ]
  )
