"""Photographs of faces with all but the landmarks' offsets integrated out.

What a photo's landmarks owe to identity, expression, camera and noise has the
covariance

    C = J_id J_id^T + J_exp J_exp^T + J_cam L J_cam^T + N,

as coefficients are N(0, 1), changes of cameras N(0, L) with a huge L, and the
noise N(0, N), a block a landmark. Its inverse weighs the distances r for
whatever else is to be found, and C^-1 r holds every posterior mean.
"""

import dataclasses
import functools

from jaxtyping import Bool, Float
import numpy as np
import threadpoolctl

from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.fitting.linear_faces import (
  CAMERA_VARIANCE,
  LinearFaces,
  PhotographedFaces,
  linearise,
  moved_cameras,
)
from disentangle3d.types import NUM_LANDMARKS

_PHOTOS_AT_A_TIME = 256
# A landmark that is left out: its noise's variance, mm^2.
_NO_INFORMATION = 1e7
# Chi-square with 2 degrees of freedom: its median, and what 1 in 1,000 exceeds.
_MEDIAN = 2 * np.log(2)
_OUTLIER = -2 * np.log(0.001)
# A photo is given up where its mean distance is so much, or so many times the
# median photo's if that is more.
_GIVEN_UP = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class IntegratedFaces:
  """What `integrate_faces` makes of M photos.

  Attributes:
    faces: With cameras, identities and expressions moved.
    force: C^-1 r, `[M, 68, 2]`, C the covariance of all but the offsets and r
      the distances less them.
    precision: The landmarks' own blocks of C^-1, `[M, 68, 2, 2]`.
    normal: Sum of P^T C^-1 P over counted photos, P what projects offsets,
      `[204, 204]`.
    pull: Sum of P^T C^-1 r, `[204]`.
  """

  faces: PhotographedFaces
  force: Float[np.ndarray, "M 68 2"]
  precision: Float[np.ndarray, "M 68 2 2"]
  normal: Float[np.ndarray, "204 204"]
  pull: Float[np.ndarray, "204"]

  def reasonable_photos(
    self, used: Bool[np.ndarray, "M 68"]
  ) -> Bool[np.ndarray, "M"]:
    """Trusted photos whose used landmarks are not all much too far off."""
    mean = np.sum(self.distance * used, 1) / np.maximum(used.sum(1), 1)
    trusted = self.faces.trusted
    typical = max(1.0, np.median(mean[trusted]))
    return trusted & (mean <= _GIVEN_UP * typical)

  def reasonable_landmarks(
    self, used: Bool[np.ndarray, "M 68"]
  ) -> Bool[np.ndarray, "M 68"]:
    """All but the used landmarks that are much too far off."""
    kept = used & self.faces.trusted[:, None]
    unit = np.median(self.distance[kept]) / _MEDIAN
    return self.faces.visible & ~(used & (self.distance > unit * _OUTLIER))

  @functools.cached_property
  def distance(self) -> Float[np.ndarray, "M 68"]:
    """Squared, in standard deviations: chi-square of 2 where C is right."""
    solved = np.linalg.solve(self.precision, self.force[..., None])[..., 0]
    return np.sum(self.force * solved, -1)


def _without(noise: np.ndarray, used: np.ndarray) -> np.ndarray:
  return np.where(used[..., None, None], noise, _NO_INFORMATION * np.eye(2))


# Products of small matrices, which threads wait for one another at.
@threadpoolctl.threadpool_limits.wrap(limits=1, user_api="blas")
def integrate_faces(
  model: FitModel,
  faces: PhotographedFaces,
  points: np.ndarray,
  offset: np.ndarray,
  noise: np.ndarray,
  used: np.ndarray,
  people: np.ndarray,
  counted: np.ndarray | None = None,
) -> IntegratedFaces:
  """Goes over all photos, whole people at a time.

  Args:
    model: Its points.
    faces: M photos, those of a person one after another.
    points: Of the landmarks in each photo, `[M, 68]`.
    offset: `[68, 3]`.
    noise: Covariances, `[M, 68, 2, 2]`, mm^2.
    used: Landmarks that say something, `[M, 68]`.
    people: Whose identity is one, `[M]`.
    counted: Which trusted photos enter the normal equations, `[M]`; None is
      none.
  """
  moved: list[dict[str, np.ndarray]] = []
  sums, pull = np.zeros((9, NUM_LANDMARKS**2)), np.zeros(3 * NUM_LANDMARKS)
  forces, precisions = [], []
  for some in _batches(people):
    few = faces.chosen(some)
    linear = linearise(model, few, points[some], offset)
    residual = linear.observed - (offset @ linear.axes.swapaxes(1, 2)).reshape(
      len(few.scale), -1
    )
    precision, force, estimate = _posterior(
      linear, residual, _without(noise[some], used[some]), people[some]
    )
    moved.append(moved_cameras(few, linear, estimate.pop("delta")) | estimate)
    blocks = precision.reshape(-1, NUM_LANDMARKS, 2, NUM_LANDMARKS, 2)
    own = np.arange(NUM_LANDMARKS)
    precisions.append(blocks[:, own, :, own].swapaxes(0, 1))
    forces.append(force.reshape(-1, NUM_LANDMARKS, 2))
    if counted is not None:
      kept = counted[some] & few.trusted
      axes = linear.axes[kept]
      sums += np.tensordot(
        np.einsum("nai,nbj->nabij", axes, axes).reshape(-1, 9),
        blocks[kept].transpose(0, 2, 4, 1, 3).reshape(-1, NUM_LANDMARKS**2),
        (0, 0),
      )
      pull += np.einsum("nai,nla->li", axes, forces[-1][kept]).ravel()
  normal = sums.reshape(3, 3, NUM_LANDMARKS, NUM_LANDMARKS)
  joined = {
    name: np.concatenate([part[name] for part in moved]) for name in moved[0]
  }
  return IntegratedFaces(
    faces=dataclasses.replace(faces, **joined),
    force=np.concatenate(forces),
    precision=np.concatenate(precisions),
    normal=normal.transpose(2, 0, 3, 1).reshape((3 * NUM_LANDMARKS,) * 2),
    pull=pull,
  )


def _batches(people: np.ndarray) -> list[slice]:
  """Photos of whole people, about `_PHOTOS_AT_A_TIME` each."""
  ends = [*np.flatnonzero(np.diff(people)) + 1, len(people)]
  found, start = [], 0
  for end, after in zip(ends, [*ends[1:], np.inf], strict=True):
    if after - start > _PHOTOS_AT_A_TIME:
      found.append(slice(start, end))
      start = end
  return found


def _posterior(
  linear: LinearFaces,
  residual: np.ndarray,
  noise: np.ndarray,
  people: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """The photos' blocks of C^-1, C^-1 r, and the posterior means.

  Identity is shared by a person's photos and integrated out last: with K the
  inverse of what is each photo's own, a photo's block of C^-1 is
  K - K J (1 + sum J^T K J)^-1 J^T K.
  """
  count = len(residual)
  own = linear.expression @ linear.expression.swapaxes(1, 2)
  own += (linear.camera * CAMERA_VARIANCE) @ linear.camera.swapaxes(1, 2)
  landmarks = np.arange(NUM_LANDMARKS)
  blocks = own.reshape(count, NUM_LANDMARKS, 2, NUM_LANDMARKS, 2)
  blocks[:, landmarks, :, landmarks] += noise.swapaxes(0, 1)
  inverse = np.linalg.inv(own)
  through = inverse @ linear.identity
  first = np.flatnonzero(np.diff(people, prepend=people[0] - 1))
  person = np.repeat(np.arange(len(first)), np.diff([*first, count]))
  information = np.add.reduceat(
    linear.identity.swapaxes(1, 2) @ through, first
  ) + np.eye(linear.identity.shape[-1])
  pull = np.add.reduceat(np.einsum("nki,nk->ni", through, residual), first)
  spread = np.linalg.inv(information)
  identity = np.einsum("sij,sj->si", spread, pull)[person]
  force = np.einsum("nkj,nj->nk", inverse, residual)
  force -= np.einsum("nki,ni->nk", through, identity)
  precision = inverse - through @ spread[person] @ through.swapaxes(1, 2)
  return (
    precision,
    force,
    {
      "identity": identity,
      "expression": np.einsum("nki,nk->ni", linear.expression, force),
      "delta": CAMERA_VARIANCE * np.einsum("nki,nk->ni", linear.camera, force),
    },
  )
