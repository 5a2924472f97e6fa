"""A small tree as Celebrities in Frontal-Profile is published."""

import pathlib

import numpy as np

from disentangle3d.reporting.pictures import picture_png
from disentangle3d.types import CROP_TEMPLATE

PEOPLE, FRONTALS, PROFILES = 4, 3, 2
SIDE, SCALE = 160, 1.2


def pattern(person: int, photo: int) -> np.ndarray:
  """A person's squares, with a little noise of the photo's."""
  shared = np.random.default_rng(person).integers(40, 200, (16, 16, 3))
  noise = np.random.default_rng([person, photo]).integers(
    0, 40, (SIDE, SIDE, 3)
  )
  return (np.kron(shared, np.ones((10, 10, 1))) + noise).astype(np.uint8)


def face_points() -> np.ndarray:
  """Where the faces' five points are: upright, in the middle."""
  return SCALE * (CROP_TEMPLATE - CROP_TEMPLATE.mean(0)) + (SIDE - 1) / 2


def write_cfp(folder: pathlib.Path) -> pathlib.Path:
  """Writes the tree, and a list of five points beside it."""
  protocol = folder / "Protocol"
  protocol.mkdir(parents=True)
  points = " ".join(f"{number:.3f}" for number in face_points().ravel())
  listed = []
  for kind, letter, count in (
    ("frontal", "F", FRONTALS),
    ("profile", "P", PROFILES),
  ):
    lines = []
    for person in range(1, PEOPLE + 1):
      for photo in range(1, count + 1):
        name = f"{person:03d}/{kind}/{photo:02d}.jpg"
        path = folder / "Data" / "Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Pillow tells a PNG by its content.
        seed = photo if kind == "frontal" else 10 + photo
        path.write_bytes(picture_png(pattern(person, seed)))
        listed.append(f"{name} {points}")
        lines.append(f"{len(lines) + 1} ../Data/Images/{name}")
    (protocol / f"Pair_list_{letter}.txt").write_text("\n".join(lines) + "\n")
  for kind, count in (("FF", FRONTALS), ("FP", PROFILES)):
    for fold in (1, 2):
      split = protocol / "Split" / kind / f"{fold:02d}"
      split.mkdir(parents=True)
      one, other = 2 * fold - 2, 2 * fold - 1
      first = {person: FRONTALS * person + 1 for person in (one, other)}
      second = {person: count * person + 2 for person in (one, other)}
      (split / "same.txt").write_text(
        "".join(f"{first[p]},{second[p]}\n" for p in (one, other))
      )
      (split / "diff.txt").write_text(
        f"{first[one]},{second[other]}\n{first[other]},{second[one]}\n"
      )
  path = folder / "five_points.txt"
  path.write_text("\n".join(listed) + "\n")
  return path
