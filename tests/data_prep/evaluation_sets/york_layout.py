"""A set of the University of York's layout whose faces are known functions."""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np
from PIL import Image

from data_prep.evaluation_sets import york
from data_prep.stages.rows import PhotoRow, manifest_path, write_manifest
from disentangle3d.faces.morphable_model import MorphableModel

DEVELOPMENT = sorted(york._DEVELOPMENT)[:3]
TEST = ["00024", "00036"]
HEIGHT, WIDTH = 660, 512
PX_A_MM = 1.7
_CENTRE = np.array([250.0, 330.0])
STEP_MM = 4.0


def depth(points, bump=0.0):
  """A face's z at x, y, `[..., 2]`: round, with a nose; a bump on one cheek."""
  x, y = points[..., 0], points[..., 1]
  z = 90 - 0.006 * x**2 - 0.003 * y**2
  z = z + 22 * np.exp(-(x**2) / 220 - (y + 12) ** 2 / 500)
  return z + bump * np.exp(-((x - 45) ** 2 + (y + 20) ** 2) / 400)


def landmarks_mm():
  """x and y of the 68 landmarks, `[68, 2]`."""
  t = np.linspace(-1, 1, 17)
  jaw = np.stack([68 * np.sin(t * 1.45), 18 - 95 * np.cos(t * 1.45)], 1)
  u = np.linspace(-52, -12, 5)
  brows = np.stack([np.r_[u, -u[::-1]], np.full(10, 42.0)], 1)
  nose = np.stack([np.zeros(4), [30, 16, 2, -12]], 1)
  under = np.stack([np.linspace(-12, 12, 5), np.full(5, -22.0)], 1)
  eye = np.array([[-14, 0], [-5, 4], [5, 4], [14, 0], [5, -4], [-5, -4.0]])
  angle = np.pi - np.arange(12) * np.pi / 6
  mouth = np.stack([26 * np.cos(angle), 9 * np.sin(angle) - 48], 1)
  inner = np.array([0, 2, 3, 4, 6, 8, 9, 10])
  return np.concatenate(
    [
      *(jaw, brows, nose, under, eye + [-32, 26], eye + [32, 26], mouth),
      (mouth[inner] - [0, -48]) * 0.7 + [0, -48],
    ]
  )


def pixels_of(points):
  """Where x and y, `[..., 2]`, are in the photograph, pixels."""
  return _CENTRE + PX_A_MM * points[..., :2] * [1, -1]


@dataclasses.dataclass(frozen=True)
class Scanned:
  """One scan as it will be written.

  Attributes:
    vertices: `[V, 3]`, mm.
    triangles: `[F, 3]`.
    face: How many of the vertices are the grid's, which come first.
  """

  vertices: np.ndarray
  triangles: np.ndarray
  face: int


def scanned(bump=0.0, *, step=STEP_MM, extra=True):
  """A grid over the face, and with it a loose piece and a spike."""
  x, y = np.arange(-80, 81, step), np.arange(-112, 113, step)
  grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1)
  vertices = np.concatenate([grid, depth(grid, bump)[..., None]], -1)
  number = np.arange(grid[..., 0].size).reshape(grid.shape[:2])
  a, b, c, d = (
    number[:-1, :-1],
    number[1:, :-1],
    number[1:, 1:],
    number[:-1, 1:],
  )
  triangles = np.concatenate(
    [np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
  )
  vertices, face = vertices.reshape(-1, 3), grid[..., 0].size
  if extra:
    piece = np.array([[0, 0, 400], [6, 0, 400], [0, 6, 400.0]])
    spike = np.array([[20, 30, 700.0]])
    triangles = np.concatenate(
      [triangles, [[face, face + 1, face + 2], [0, 1, face + 3]]]
    )
    vertices = np.concatenate([vertices, piece, spike])
  return Scanned(vertices, triangles, face)


def write_obj(path, scan):
  """As VisionRT writes it: texture coordinates are places in the photo."""
  path.parent.mkdir(parents=True, exist_ok=True)
  places = (pixels_of(scan.vertices) + 0.5) / [WIDTH, HEIGHT]
  lines = ["# VisionRT Ltd.", "# File type: ASCII OBJ", ""]
  lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in scan.vertices]
  lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in places]
  lines += [
    f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (scan.triangles + 1).tolist()
  ]
  path.write_text("\n".join(lines) + "\n")


def write_photo(path):
  """Grey, lighter to the right."""
  path.parent.mkdir(parents=True, exist_ok=True)
  grey = np.tile(np.linspace(40, 200, WIDTH).astype(np.uint8), (HEIGHT, 1))
  Image.fromarray(grey).save(path)


def names_of(people: Sequence[str]):
  """Of both scans of each."""
  return [
    f"{person}/{person}-{kind}-mww28nnngy"
    for person in people
    for kind in ("08", "10")
  ]


def write_york(folder: pathlib.Path, scans):
  """Writes scans by name, and their photographs.

  Args:
    folder: The set's.
    scans: `Scanned` by name.
  """
  for name, scan in scans.items():
    write_obj(folder / f"{name}.obj", scan)
    write_photo(folder / f"{name}.jpg")


def write_aligned(
  folder: pathlib.Path, photos: pathlib.Path, names, *, visible=True
):
  """What align_faces makes of the photographs, with the true landmarks."""
  landmarks = pixels_of(landmarks_mm()).astype(np.float32)
  scale = 0.35
  matrix = np.array(
    [[scale, 0, 48 - scale * _CENTRE[0]], [0, scale, 62 - scale * _CENTRE[1]]],
    np.float32,
  )
  rows = []
  for name in names:
    crop = folder / "crops" / f"{name}.png"
    crop.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((112, 96, 3), 90, np.uint8)).save(crop)
    rows.append(
      PhotoRow(
        image_path=photos / f"{name}.jpg",
        subject=name.split("/")[0],
        image_id=f"{name}.jpg",
        status="ok",
        detector="MTCNN + dlib 68",
        box=np.array([130, 160, 370, 500], np.float32),
        five_points=landmarks[[36, 45, 30, 48, 54]],
        landmarks=landmarks,
        visibility=np.full(68, visible, np.float32),
        crop_from_photo=matrix,
        crop_path=crop,
      )
    )
  write_manifest(manifest_path(folder), rows)


def grid_model():
  """The face itself, with a bump on the cheek and a longer chin as modes."""
  grid = scanned(step=5.0, extra=False)
  points = grid.vertices
  marks = landmarks_mm()
  away = np.linalg.norm(points[:, None, :2] - marks, axis=-1)
  zero = np.zeros(len(points))
  bump = depth(points, 1.0) - depth(points)
  chin = np.where(points[:, 1] < -40, (points[:, 1] + 40) / 20, 0)
  smile = np.exp(-(points[:, 0] ** 2) / 900 - (points[:, 1] + 48) ** 2 / 90)

  def mode(x=zero, y=zero, z=zero):
    return np.stack([x, y, z], -1)[..., None].astype(np.float32)

  return MorphableModel(
    mean_shape=points.astype(np.float32),
    identity_basis=np.concatenate([mode(z=3 * bump), mode(y=chin)], -1),
    expression_basis=mode(z=2 * smile),
    triangles=grid.triangles.astype(np.int32),
    landmark_vertices=away.argmin(0).astype(np.int32),
    name="grid",
    source="tests",
    licence="Apache-2.0",
  )
