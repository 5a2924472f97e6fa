"""Identification against a gallery: who is it, and is it anybody known?"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.pairs import unit_rows
from disentangle3d.types import check_array


@dataclasses.dataclass(frozen=True, eq=False)
class IdentificationResult:
  """How well probes find their person in a gallery, percent.

  Attributes:
    rank_1: Known probes whose best match is right.
    cmc: Known probes whose person is among the k best, `[G]`, k from 1.
    tar_at_far: For each far asked for: known probes whose best match is right
      and is accepted, at the lowest threshold that accepts at most that share
      of the unknown probes; NaN where there are too few unknown probes.
    thresholds: Those thresholds, `[A]`.
    known: Number of probes whose person is in the gallery.
    unknown: Number of the others.
  """

  rank_1: float
  cmc: Float[np.ndarray, "G"]
  tar_at_far: Float[np.ndarray, "A"]
  thresholds: Float[np.ndarray, "A"]
  known: int
  unknown: int


def identify(
  gallery: Float[Array | np.ndarray, "N D"],
  gallery_people: Int[Array | np.ndarray, "N"],
  probes: Float[Array | np.ndarray, "M D"],
  probe_people: Int[Array | np.ndarray, "M"],
  *,
  fars: Sequence[float] = (0.1, 0.01),
) -> IdentificationResult:
  """Compares every probe with every person of the gallery by cosine.

  A person with several photos in the gallery scores as the best of them; of
  equal scores the wrong person wins, so that constant codes find nobody.

  Args:
    gallery: Codes of known people, `[N, D]`.
    gallery_people: Who they are, `[N]`.
    probes: Codes to find, `[M, D]`.
    probe_people: Who they are, `[M]`; some may not be in the gallery.
    fars: Shares of unknown probes that may be accepted, in (0, 1).

  Returns:
    `IdentificationResult`.

  Raises:
    ValueError: A shape differs, a code is not finite, no probe is known, or
      a far is out of range.
    TypeError: A dtype differs.
  """
  sizes = check_array("gallery", gallery, "N D")
  check_array(
    "gallery_people", gallery_people, "N", dtype="integer", sizes=sizes
  )
  sizes = check_array("probes", probes, "M D", sizes=sizes)
  check_array("probe_people", probe_people, "M", dtype="integer", sizes=sizes)
  for name, codes in (("gallery", gallery), ("probes", probes)):
    if not np.isfinite(np.asarray(codes)).all():
      raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
  for far in fars:
    if not 0 < far < 1:
      raise ValueError(f"fars: expected numbers in (0, 1), got {far}")
  people, place = np.unique(np.asarray(gallery_people), return_inverse=True)
  by_photo = unit_rows(probes) @ unit_rows(gallery).T
  scores = np.full((len(by_photo), len(people)), -np.inf)
  for person in range(len(people)):
    scores[:, person] = by_photo[:, place == person].max(1)
  wanted = np.searchsorted(people, np.asarray(probe_people))
  wanted = np.minimum(wanted, len(people) - 1)
  known = people[wanted] == np.asarray(probe_people)
  if not known.any():
    raise ValueError(
      "probe_people: expected someone who is in the gallery, got nobody"
    )
  own = scores[known, wanted[known]]
  rank = np.sum(scores[known] >= own[:, None], 1)
  cmc = np.mean(rank[:, None] <= np.arange(1, len(people) + 1), 0)
  best_unknown = scores[~known].max(1, initial=-np.inf)
  thresholds = np.array([_threshold(best_unknown, far) for far in fars])
  accepted = (rank == 1)[:, None] & (own[:, None] >= thresholds)
  return IdentificationResult(
    rank_1=100 * float(cmc[0]),
    cmc=100 * cmc,
    tar_at_far=np.where(np.isnan(thresholds), np.nan, 100 * accepted.mean(0)),
    thresholds=thresholds,
    known=int(known.sum()),
    unknown=int((~known).sum()),
  )


def _threshold(impostors: np.ndarray, far: float) -> float:
  """The lowest that accepts at most a share of scores; NaN if none can."""
  allowed = int(np.floor(far * len(impostors) + 1e-9))
  if allowed < 1:
    return float("nan")
  falling = np.append(np.sort(impostors)[::-1], -np.inf)
  return float(np.nextafter(falling[allowed], np.inf))
