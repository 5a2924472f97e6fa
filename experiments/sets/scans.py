"""Photos of people whose faces were scanned: MICC Florence and BU-3DFE.

A set is a list of photos, each with the scan that it is measured against, and
the same person's neutral scan for the identity shape. Scans are read when they
are asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.evaluation_sets.bu3dfe import NEUTRAL, list_bu3dfe
from data_prep.evaluation_sets.bu3dfe_landmarks import ibug_from_bu3dfe
from data_prep.evaluation_sets.florence import list_florence
from data_prep.evaluation_sets.scans import ScanFiles, read_scan
from data_prep.evaluation_sets.vrml_texture import read_vrml_colors
from data_prep.fitting.shards import follows_silhouette
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.rows import PhotoRow, read_rows
from disentangle3d.evaluation.rows import evenly
from disentangle3d.evaluation.scans import Scan, make_scan
from disentangle3d.geometry import apply_affine
from disentangle3d.types import UserError
from experiments.sets.scan_renderings import render_scan

MICC, BU3DFE, BU3DFE_YAW = "MICC", "BU-3DFE", "BU-3DFE-rendered"
_YAW_STEPS_DEG = tuple(range(-90, 91, 10))
_FRONTAL = "frontal"
# As the paper: neutral, and the first level of the six others.
_LEVELS = (0, 1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FacePhoto:
  """A photo of a scanned face.

  Attributes:
    name: In folders of meshes, without a suffix; begins with the subject.
    subject: Whose face it is.
    condition: The expression, or the yaw in degrees; "" if neither counts.
    image: The crop, `[112, 96, 3]` uint8.
    landmarks: In the crop, `[68, 2]`.
    visibility: `[68]`; all 0 where the landmarks are not known.
    visible_contour: Whether the jaw's landmarks follow the silhouette.
    detector: What found the landmarks, in the words of the manifests.
  """

  name: str
  subject: str
  condition: str
  image: UInt8[np.ndarray, "112 96 3"]
  landmarks: Float[np.ndarray, "68 2"]
  visibility: Float[np.ndarray, "68"]
  visible_contour: bool = False
  detector: str = ""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ScanPhoto(FacePhoto):
  """A photo and the scans it is measured against.

  Attributes:
    scan: Of the same moment (of the same person, where all are neutral).
    neutral: The person's neutral scan.
  """

  scan: ScanFiles
  neutral: ScanFiles


@dataclasses.dataclass(frozen=True, eq=False)
class ScanSet:
  """A published test set.

  Attributes:
    name: `MICC`, `BU3DFE` or `BU3DFE_YAW`.
    photos: In order of their scans.
    remarks: What a reader of a table must know.
  """

  name: str
  photos: Sequence[ScanPhoto]
  remarks: str

  @property
  def people(self) -> np.ndarray:
    """Who is in each photo, `[P]` int32."""
    names = [photo.subject for photo in self.photos]
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


@dataclasses.dataclass(frozen=True)
class ScanFolders:
  """Where scanned people are; None where they are not.

  Attributes:
    florence: MICC Florence: subject_01 ...
    florence_landmarks: The .ljson files; beside the scans if None.
    florence_frames: The videos' frames; in `florence` if None.
    florence_aligned: What align_faces made of the frames.
    scene: Of Florence's videos.
    frames_per_person: Of Florence, evenly taken; 0 takes all.
    bu3dfe: BU-3DFE: F0001 to M0044.
    bu3dfe_aligned: What align_faces made of its F2D photos; None leaves them
      out.
  """

  florence: str | None = None
  florence_landmarks: str | None = None
  florence_frames: str | None = None
  florence_aligned: str | None = None
  scene: str = "PTZ-Outdoor"
  frames_per_person: int = 10
  bu3dfe: str | None = None
  bu3dfe_aligned: str | None = None


def read_scan_sets(folders: ScanFolders) -> Iterator[ScanSet]:
  """The sets of scans that are there, one after the other.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: Florence comes without aligned frames, or nothing is left to
      measure; says why.
  """
  if folders.florence is not None:
    if folders.florence_aligned is None:
      raise UserError("florence_aligned: expected beside florence")
    yield florence_set(
      folders.florence,
      aligned=folders.florence_aligned,
      landmarks=folders.florence_landmarks,
      frames=folders.florence_frames,
      scene=folders.scene,
      photos_per_person=folders.frames_per_person,
    )
  if folders.bu3dfe is not None:
    if folders.bu3dfe_aligned is not None:
      yield bu3dfe_set(folders.bu3dfe, aligned=folders.bu3dfe_aligned)
    yield bu3dfe_yaw_set(folders.bu3dfe)


# Photos follow their scans; identity shapes go back to one neutral scan.
@functools.lru_cache(maxsize=2)
def load_scan(files: ScanFiles) -> Scan:
  """A scan with its iBUG landmarks.

  Raises:
    UserFileNotFoundError: A file is gone.
    UserError: A file is malformed, or there are no landmarks.
  """
  scan = read_scan(files)
  if scan.landmarks is None:
    raise UserError(f"{files.mesh_path}: expected landmarks, found none")
  landmarks = scan.landmarks
  try:
    if len(landmarks) != 68:
      landmarks = ibug_from_bu3dfe(landmarks, scan.vertices)
    return make_scan(scan.vertices, scan.triangles, landmarks)
  except ValueError as error:
    raise UserError(f"{files.mesh_path}: {error}") from error


def florence_set(
  root: str | os.PathLike[str],
  *,
  aligned: str | os.PathLike[str],
  landmarks: str | os.PathLike[str] | None = None,
  frames: str | os.PathLike[str] | None = None,
  scene: str = "PTZ-Outdoor",
  photos_per_person: int = 0,
) -> ScanSet:
  """Frames of the videos of one scene, against the frontal scan.

  Args:
    root: See `list_florence`.
    aligned: What align_faces made of the frames.
    landmarks: See `list_florence`.
    frames: See `list_florence`.
    scene: Of the videos.
    photos_per_person: At most so many frames, evenly taken; 0 takes all.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: Nothing is left to measure; says why.
  """
  listed = list_florence(root, landmarks=landmarks, frames=frames)
  scans: dict[str, ScanFiles] = {}
  for one in listed:
    if one.expression.startswith(_FRONTAL) and one.landmarks_path is not None:
      scans.setdefault(one.subject, one)
  if not scans:
    raise UserError(
      f"{root}: expected .ljson landmarks of a frontal scan, found none"
    )
  rows = _by_path(aligned)
  photos, lacking = [], 0
  for subject, scan in scans.items():
    paths = [p for p in scan.photo_paths if p.parent.name == scene]
    usable = [rows[path] for path in map(_key, paths) if path in rows]
    lacking += len(paths) - len(usable)
    photos += [
      _photo(row, f"{subject}/{scene}/{row.image_path.stem}", scan, scan, "")
      for row in _evenly(usable, photos_per_person)
    ]
  _check_found(photos, root, aligned, f"frames of {scene}")
  without = len({one.subject for one in listed}) - len(scans)
  return ScanSet(
    MICC,
    photos,
    f"{scene}, the first frontal scan with landmarks;"
    f" {without} subjects without landmarks, {lacking} frames not aligned",
  )


def bu3dfe_set(
  root: str | os.PathLike[str], *, aligned: str | os.PathLike[str]
) -> ScanSet:
  """The photos of neutral and of level 1 of the six expressions.

  Args:
    root: See `list_bu3dfe`.
    aligned: What align_faces made of the F2D photos.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: Nothing is left to measure; says why.
  """
  scans, neutral = _bu3dfe_scans(root)
  rows = _by_path(aligned)
  photos, lacking = [], 0
  for scan in scans:
    found = [rows[p] for p in map(_key, scan.photo_paths) if p in rows]
    if scan.subject in neutral and found:
      name = f"{scan.subject}/{scan.photo_paths[0].stem}"
      own = neutral[scan.subject]
      photos.append(_photo(found[0], name, scan, own, scan.expression))
    else:
      lacking += 1
  _check_found(photos, root, aligned, "F2D photos")
  return ScanSet(BU3DFE, photos, f"{lacking} scans without an aligned photo")


def bu3dfe_yaw_set(root: str | os.PathLike[str]) -> ScanSet:
  """The neutral scans, rendered at yaw -90 to 90 degrees by 10.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: There is no neutral scan with landmarks.
  """
  _, neutral = _bu3dfe_scans(root)
  photos, textured = [], 0
  for files in neutral.values():
    scan = load_scan(files)
    colors = read_vrml_colors(files.mesh_path, len(scan.surface.vertices))
    textured += colors is not None
    crops = render_scan(
      scan.surface.vertices.astype(np.float32),
      scan.surface.triangles.astype(np.int32),
      scan.landmarks,
      _YAW_STEPS_DEG,
      colors=colors,
    )
    stem = files.mesh_path.stem
    photos += [
      ScanPhoto(
        name=f"{files.subject}/{stem}_yaw{yaw:+03d}",
        subject=files.subject,
        scan=files,
        neutral=files,
        condition=str(yaw),
        image=crops.images[place],
        landmarks=crops.landmarks[place],
        visibility=crops.visibility[place],
      )
      for place, yaw in enumerate(_YAW_STEPS_DEG)
    ]
  plain = len(neutral) - textured
  return ScanSet(
    BU3DFE_YAW,
    photos,
    f"{textured} scans with their texture, {plain} in a skin colour",
  )


def _bu3dfe_scans(
  root: str | os.PathLike[str],
) -> tuple[list[ScanFiles], Mapping[str, ScanFiles]]:
  """Those with landmarks that the paper takes, and people's neutral ones."""
  scans = [
    scan
    for scan in list_bu3dfe(root)
    if scan.level in _LEVELS and scan.landmarks_path is not None
  ]
  neutral = {s.subject: s for s in scans if s.expression == NEUTRAL}
  if not neutral:
    raise UserError(
      f"{root}: expected neutral scans with landmarks, as"
      " F0001/F0001_NE00WH_F3D.bnd beside the .wrl, found none"
    )
  return scans, neutral


def _photo(
  row: PhotoRow, name: str, scan: ScanFiles, neutral: ScanFiles, condition: str
) -> ScanPhoto:
  return ScanPhoto(
    name=name,
    subject=scan.subject,
    scan=scan,
    neutral=neutral,
    condition=condition,
    **crop_of(row),
  )


def crop_of(row: PhotoRow) -> dict[str, Any]:
  """What a row of align_faces gives to a `FacePhoto`.

  Raises:
    UserFileNotFoundError: The crop is gone.
    UserError: The row is not aligned.
  """
  if row.crop_path is None or row.crop_from_photo is None:
    raise UserError(f"{row.image_id}: expected an aligned photo, got no crop")
  landmarks, visibility = np.zeros((68, 2)), np.zeros(68)
  if row.landmarks is not None and row.visibility is not None:
    landmarks = np.asarray(
      apply_affine(row.crop_from_photo, row.landmarks.astype(np.float32))
    )
    visibility = row.visibility
  return {
    "image": read_photo(row.crop_path),
    "landmarks": landmarks,
    "visibility": visibility,
    "visible_contour": follows_silhouette(row, "detector"),
    "detector": row.detector,
  }


def _by_path(aligned: str | os.PathLike[str]) -> dict[pathlib.Path, PhotoRow]:
  rows = read_rows(aligned, aligned=True)
  return {_key(row.image_path): row for row in rows if row.status == "ok"}


def _key(path: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(os.path.realpath(path))


def _check_found(
  photos: Sequence[ScanPhoto],
  root: str | os.PathLike[str],
  aligned: str | os.PathLike[str],
  what: str,
) -> None:
  if not photos:
    raise UserError(
      f"{aligned}: expected aligned photos of {root} ({what}), found none"
    )


def _evenly(rows: Sequence[PhotoRow], most: int) -> list[PhotoRow]:
  return [rows[place] for place in evenly(len(rows), most or len(rows))]
