"""Whether identity shapes of one person are nearer than strangers' (host)."""

from jaxtyping import Array, Bool, Float, Int
import numpy as np
import scipy

from disentangle3d.evaluation.icp import similarity
from disentangle3d.types import check_array


def nearer_than_strangers(
  shapes: Float[Array | np.ndarray, "P V 3"],
  people: Int[Array | np.ndarray, "P"],
  *,
  reference: Float[Array | np.ndarray, "V 3"],
  region: Bool[np.ndarray, "V"],
  strangers: int = 20,
) -> Float[np.ndarray, "P"]:
  """How often one's other photo is nearer than that many strangers' photos.

  Shapes are laid over the reference by a similarity, and their distance is the
  root mean square over the region. The strangers' photos are drawn without
  replacement; the mean over all draws is taken in closed form.

  Args:
    shapes: Identity shapes, one a photo, `[P, V, 3]`, mm.
    people: Who is in each, `[P]`.
    reference: What all are laid over, `[V, 3]`.
    region: True for the vertices that count, `[V]`.
    strangers: How many are drawn.

  Returns:
    For each photo the share of draws in which its person's nearest other photo
    is strictly nearer than all of the drawn, `[P]`; NaN where the person has no
    other photo, or where there are fewer strangers' photos.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  sizes = check_array("shapes", shapes, "P V 3")
  check_array("people", people, "P", dtype="integer", sizes=sizes)
  check_array("reference", reference, "V 3", sizes=sizes)
  target = np.asarray(reference, np.float64)[region]
  laid = []
  for shape in np.asarray(shapes, np.float64):
    own = shape[region]
    laid.append(similarity(own, target).apply(own).ravel())
  distance = scipy.spatial.distance.squareform(
    scipy.spatial.distance.pdist(np.stack(laid))
  )
  same = np.equal.outer(np.asarray(people), np.asarray(people))
  other = same & ~np.eye(len(same), dtype=bool)
  shares = np.full(len(same), np.nan)
  for row in range(len(same)):
    unknown = distance[row, ~same[row]]
    if not other[row].any() or len(unknown) < strangers:
      continue
    nearer = int((unknown <= distance[row, other[row]].min()).sum())
    shares[row] = scipy.special.comb(
      len(unknown) - nearer, strangers, exact=True
    ) / scipy.special.comb(len(unknown), strangers, exact=True)
  return shares
