"""Published protocols for scans whose vertices are not the model's (host).

What each does, as far as it is public (docs: the references of the names):

- `liu2018`, `liu2018_rigid`: Procrustes on the 68 landmarks, 95 mm around the
  nose tip, root mean square distance to the nearest surface point.
- `deng2019` (Deep3D on MICC): landmarks, then ICP with scale; point to plane,
  95 mm, root mean square. The authors also cut the forehead off by hand.
- `ganfit`: landmarks, then ICP with scale; 95 mm around the nose tip; mean of
  the mean distances scan to mesh and mesh to scan. The authors first register
  the scan to a template.
- `now`, `now_metrical`: seven landmarks, then ICP, with scale or rigid; a
  mask around the middle of the face; the median of all scan-to-mesh distances
  of all images together (`pool_distances`), the mean for one image.
- `realy_like`: REALY's seven keypoints, then ICP for each of four regions;
  mean of the regions' mean distances. REALY deforms the scan to the mesh
  before it measures, and draws its regions by hand; this does neither.
- `outline`, `outline_rigid`: for scans with the photograph they were taken
  with. Landmarks, then ICP, with scale or rigid, on the nearest 90 % of the
  scan's vertices inside the face's outline in the photograph; the median of
  the distances of all of them (`ScanError.rmse_mm` has their root mean
  square).

A protocol is a value; a new one is a new `ScanProtocol`.
"""

from collections.abc import Callable, Sequence
import dataclasses

from jaxtyping import Bool, Float
import numpy as np

from disentangle3d.evaluation.icp import (
  DEFAULT_OPTIONS,
  IcpOptions,
  IcpReport,
  Motion,
  icp,
  similarity,
)
from disentangle3d.evaluation.scans import (
  SEVEN_KEYPOINTS,
  Scan,
  around_nose,
  facial_regions,
  now_mask,
  within_outline,
)
from disentangle3d.evaluation.surfaces import (
  ClosestPoints,
  Surface,
  closest_points,
  nearest_vertices,
)
from disentangle3d.types import NOSE_TIP, choose

_ALL = tuple(range(68))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """What a protocol's score is made from.

  Attributes:
    predicted: The prediction.
    truth: The scan.
    motion: Lays the prediction over the scan.
    distance_mm: Of each of the scan's vertices, `[V]`.
    inside: True where the scan is measured, `[V]`.
    radius_mm: Of the region.
    options: Of ICP.
  """

  predicted: Scan
  truth: Scan
  motion: Motion
  distance_mm: Float[np.ndarray, "V"]
  inside: Bool[np.ndarray, "V"]
  radius_mm: float
  options: IcpOptions


@dataclasses.dataclass(frozen=True)
class ScanProtocol:
  """How a prediction is compared with a scan.

  Attributes:
    name: As tables print it.
    keypoints: Landmarks of the first alignment.
    with_scale: False aligns rigidly throughout.
    refine: Whether ICP over the region follows.
    region: `(truth, radius_mm)` to True for the scan's vertices that are
      measured, `[V]`.
    distance: `(surface, points)` in the prediction's frame to distances.
    score: The number that the protocol reports, mm.
    nearest_share: Of the points, those that ICP fits; see `IcpOptions`.
  """

  name: str
  keypoints: tuple[int, ...]
  with_scale: bool
  refine: bool
  region: Callable[[Scan, float], np.ndarray]
  distance: Callable[[Surface, np.ndarray], np.ndarray]
  score: Callable[[Comparison], float]
  nearest_share: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class ScanError:
  """One prediction against one scan.

  Attributes:
    score_mm: The number that the protocol reports; NaN where nothing is
      inside the region.
    distance_mm: Distance of each of the scan's vertices, `[V]`, mm.
    inside: True where the protocol measures, `[V]`.
    motion: Lays the prediction over the scan.
    icp: How ICP went; None where the protocol has none.
  """

  score_mm: float
  distance_mm: Float[np.ndarray, "V"]
  inside: Bool[np.ndarray, "V"]
  motion: Motion
  icp: IcpReport | None

  @property
  def rmse_mm(self) -> float:
    """Root mean square of the distances inside the region; NaN for none."""
    if not self.inside.any():
      return float("nan")
    return float(np.sqrt(np.mean(self.distance_mm[self.inside] ** 2)))


@dataclasses.dataclass(frozen=True)
class PooledDistances:
  """Distances of all images together, mm, as the NoW challenge ranks them."""

  median: float
  mean: float
  std: float


def scan_error(
  predicted: Scan,
  truth: Scan,
  *,
  protocol: str | ScanProtocol = "liu2018",
  radius_mm: float = 95.0,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> ScanError:
  """Compares a prediction with a scan of any topology.

  Args:
    predicted: The reconstruction.
    truth: The scan.
    protocol: A name in `SCAN_PROTOCOLS` or `OUTLINE_PROTOCOLS`, or a protocol.
    radius_mm: Radius of the region around the true nose tip, for the
      protocols that have one; NoW's follows from its landmarks.
    options: Of ICP.

  Returns:
    `ScanError`.

  Raises:
    ValueError: The protocol is not known, the radius is not positive, fewer
      than three of its keypoints are known on both, or the protocol needs an
      outline and the scan has none.
  """
  return scan_errors(
    predicted, truth, [protocol], radius_mm=radius_mm, options=options
  )[0]


def scan_errors(
  predicted: Scan,
  truth: Scan,
  protocols: Sequence[str | ScanProtocol],
  *,
  radius_mm: float = 95.0,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> list[ScanError]:
  """Compares by several protocols; those that align alike do it once.

  Args:
    predicted: The reconstruction.
    truth: The scan.
    protocols: See `scan_error`.
    radius_mm: See `scan_error`.
    options: Of ICP.

  Returns:
    One `ScanError` a protocol.

  Raises:
    ValueError: As `scan_error`.
  """
  if not radius_mm > 0:
    raise ValueError(f"radius_mm: expected a positive radius, got {radius_mm}")
  laid: dict[tuple[object, ...], tuple[Motion, IcpReport | None]] = {}
  errors = []
  for one in protocols:
    protocol = choose("protocol", one, SCAN_PROTOCOLS | OUTLINE_PROTOCOLS)
    inside = protocol.region(truth, radius_mm)
    same = (
      *(protocol.keypoints, protocol.with_scale, protocol.refine),
      *(protocol.region, protocol.nearest_share),
    )
    if same not in laid:
      laid[same] = _lay_over(predicted, truth, protocol, inside, options)
    motion, report = laid[same]
    own = motion.inverse(truth.surface.vertices)
    distance = motion.scale * protocol.distance(predicted.surface, own)
    score = float("nan")
    if inside.any():
      score = protocol.score(
        Comparison(
          predicted, truth, motion, distance, inside, radius_mm, options
        )
      )
    errors.append(ScanError(score, distance, inside, motion, report))
  return errors


def pool_distances(errors: Sequence[ScanError]) -> PooledDistances:
  """Median, mean and standard deviation of all distances inside the regions.

  Raises:
    ValueError: There is no distance at all.
  """
  parts = [error.distance_mm[error.inside] for error in errors]
  pooled = np.concatenate(parts) if parts else np.zeros(0)
  if not pooled.size:
    raise ValueError("errors: expected at least one distance, got none")
  return PooledDistances(
    float(np.median(pooled)), float(pooled.mean()), float(pooled.std())
  )


def surface_distance(surface: Surface, points: np.ndarray) -> np.ndarray:
  """Distance to the closest point of the surface (point to triangle)."""
  return closest_points(surface, points).distance_mm


def plane_distance(surface: Surface, points: np.ndarray) -> np.ndarray:
  """Distance to the plane of the closest triangle (point to plane)."""
  found = closest_points(surface, points)
  return _along_normal(found, points)


def _along_normal(found: ClosestPoints, points: np.ndarray) -> np.ndarray:
  along = np.abs(np.sum((points - found.point) * found.normal, 1))
  solid = found.normal.any(1)
  return np.where(solid, along, found.distance_mm)


def _lay_over(
  predicted: Scan,
  truth: Scan,
  protocol: ScanProtocol,
  inside: np.ndarray,
  options: IcpOptions,
) -> tuple[Motion, IcpReport | None]:
  chosen = list(protocol.keypoints)
  source, target = predicted.landmarks[chosen], truth.landmarks[chosen]
  known = np.isfinite(source).all(1) & np.isfinite(target).all(1)
  if known.sum() < 3:
    raise ValueError(
      f"landmarks: expected 3 or more of {protocol.name}'s"
      f" {len(chosen)} keypoints on both shapes, got {known.sum()}"
    )
  motion = similarity(
    source[known], target[known], with_scale=protocol.with_scale
  )
  if not protocol.refine or inside.sum() < 3:
    return motion, None
  report = icp(
    predicted.surface,
    truth.surface.vertices[inside],
    start=motion,
    with_scale=protocol.with_scale,
    options=dataclasses.replace(options, nearest_share=protocol.nearest_share),
  )
  return report.motion, report


def _rms(compared: Comparison) -> float:
  return float(np.sqrt(np.mean(compared.distance_mm[compared.inside] ** 2)))


def _mean(compared: Comparison) -> float:
  return float(np.mean(compared.distance_mm[compared.inside]))


def _median(compared: Comparison) -> float:
  return float(np.median(compared.distance_mm[compared.inside]))


def _symmetric_mean(compared: Comparison) -> float:
  """Half of scan to mesh, half of mesh to scan, both around the nose tip."""
  moved = compared.motion.apply(compared.predicted.surface.vertices)
  centre = compared.truth.landmarks[NOSE_TIP]
  near = np.linalg.norm(moved - centre, axis=1) <= compared.radius_mm
  there = _mean(compared)
  if not near.any():
    return float("nan")
  back = closest_points(compared.truth.surface, moved[near]).distance_mm
  return (there + float(back.mean())) / 2


def _mean_of_regions(compared: Comparison) -> float:
  """Each region is laid over by itself, from the seven keypoints' motion."""
  means = []
  vertices = compared.truth.surface.vertices
  for region in facial_regions(compared.truth, compared.inside).values():
    if region.sum() < 3:
      return float("nan")
    report = icp(
      compared.predicted.surface,
      vertices[region],
      start=compared.motion,
      with_scale=False,
      options=compared.options,
    )
    own = report.motion.inverse(vertices[region])
    found = closest_points(compared.predicted.surface, own)
    means.append(report.motion.scale * found.distance_mm.mean())
  return float(np.mean(means))


SCAN_PROTOCOLS = {
  protocol.name: protocol
  for protocol in (
    ScanProtocol(
      "liu2018", _ALL, True, False, around_nose, surface_distance, _rms
    ),
    ScanProtocol(
      "liu2018_rigid", _ALL, False, False, around_nose, surface_distance, _rms
    ),
    ScanProtocol(
      "liu2018_vertex", _ALL, True, False, around_nose, nearest_vertices, _rms
    ),
    ScanProtocol(
      "deng2019", _ALL, True, True, around_nose, plane_distance, _rms
    ),
    ScanProtocol(
      "ganfit", _ALL, True, True, around_nose, surface_distance, _symmetric_mean
    ),
    ScanProtocol(
      "now", SEVEN_KEYPOINTS, True, True, now_mask, surface_distance, _mean
    ),
    ScanProtocol(
      "now_metrical",
      SEVEN_KEYPOINTS,
      False,
      True,
      now_mask,
      surface_distance,
      _mean,
    ),
    ScanProtocol(
      "realy_like",
      SEVEN_KEYPOINTS,
      True,
      False,
      around_nose,
      surface_distance,
      _mean_of_regions,
    ),
  )
}
# For scans that know the face's outline in their photograph.
OUTLINE_PROTOCOLS = {
  protocol.name: protocol
  for protocol in (
    ScanProtocol(
      "outline",
      _ALL,
      True,
      True,
      within_outline,
      surface_distance,
      _median,
      nearest_share=0.9,
    ),
    ScanProtocol(
      "outline_rigid",
      _ALL,
      False,
      True,
      within_outline,
      surface_distance,
      _median,
      nearest_share=0.9,
    ),
  )
}
