"""Pictures that survive JPEG as photographs do."""

from collections.abc import Sequence
import pathlib
import zipfile

import cv2
import numpy as np


def smooth_picture(seed: int) -> np.ndarray:
  """`[112, 96, 3]` uint8 of soft blobs; another for each seed."""
  rng = np.random.default_rng(seed)
  blobs = rng.integers(0, 256, (14, 12, 3), np.uint8)
  return cv2.resize(blobs, (96, 112), interpolation=cv2.INTER_CUBIC)


def write_aflw2000(
  folder: pathlib.Path, *, yaws: Sequence[float]
) -> np.ndarray:
  """A small tree of AFLW2000-3D, a photo a yaw; its points, `[N, 68, 3]`."""
  folder.mkdir(parents=True, exist_ok=True)
  names = [f"image{number:05d}.jpg" for number in range(len(yaws))]
  with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
    for seed, name in enumerate(names):
      picture = cv2.resize(smooth_picture(seed), (80, 90))
      archive.writestr(name, cv2.imencode(".jpg", picture)[1].tobytes())
  rng = np.random.default_rng(0)
  points = rng.uniform(20, 60, (len(yaws), 68, 3)).astype(np.float32)
  angles = np.zeros((len(yaws), 3), np.float32)
  angles[:, 1] = yaws
  np.savez(
    folder / "points.npz",
    names=np.array(names),
    points=points,
    pitch_yaw_roll_deg=angles,
  )
  return points
