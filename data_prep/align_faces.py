r"""Cuts the 112 x 96 crops that the network sees out of the located photos.

    python -m data_prep.align_faces --located=located --output=aligned

Each crop is the photo under the similarity that takes the five points nearest
to SphereFace's template; what lies outside the photo is black, as there.
"""

import dataclasses
import pathlib

from absl import flags
import cv2
from jaxtyping import Float, UInt8
import numpy as np
import tqdm

from data_prep import command_line
from data_prep.manifests import (
  PhotoRow,
  count_rows,
  list_manifests,
  read_licences,
  read_manifest,
  read_rows,
  report_rows,
  write_about,
  write_manifest,
)
from data_prep.output_files import new_folder
from data_prep.photos import read_photo
from disentangle3d.geometry import similarity_2d
from disentangle3d.training.records import encode_image
from disentangle3d.types import CROP_TEMPLATE, IMAGE_HEIGHT, IMAGE_WIDTH

# Five points closer together than this are no face.
_LEAST_SPREAD_PX = 1.0


def crop_matrix(
  points: Float[np.ndarray, "5 2"],
) -> Float[np.ndarray, "2 3"]:
  """`crop_from_photo` of a face.

  Args:
    points: Eyes, nose tip, mouth corners, `[5, 2]`, photo pixels.

  Returns:
    crop = matrix [x, y, 1], `[2, 3]`.

  Raises:
    ValueError: The points coincide.
  """
  points = np.asarray(points, np.float32)
  if np.ptp(points, axis=0).max() < _LEAST_SPREAD_PX:
    raise ValueError("the five points coincide")
  return np.asarray(similarity_2d(points, CROP_TEMPLATE))


def warp_crop(
  photo: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "112 96 3"]:
  """The crop that `crop_from_photo` makes of a photo.

  A photo that shrinks to less than half is averaged down first, so that no
  pixel is left out.

  Args:
    photo: RGB, `[H, W, 3]`.
    matrix: `crop_from_photo`, `[2, 3]`.

  Returns:
    RGB, `[112, 96, 3]`; black outside the photo.
  """
  matrix = np.asarray(matrix, np.float64)
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  if scale < 0.5:
    height, width = photo.shape[:2]
    size = (
      max(1, round(2 * scale * width)),
      max(1, round(2 * scale * height)),
    )
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    enlarge = np.array([width / size[0], height / size[1]])
    # x = (x_small + 0.5) enlarge - 0.5, pixel centres at integers in both.
    shift = matrix[:, :2] @ (0.5 * enlarge - 0.5) + matrix[:, 2]
    matrix = np.concatenate(
      [matrix[:, :2] * enlarge[None], shift[:, None]], axis=1
    )
  return cv2.warpAffine(
    photo, matrix, (IMAGE_WIDTH, IMAGE_HEIGHT), flags=cv2.INTER_LINEAR
  )


def align_row(row: PhotoRow, folder: pathlib.Path) -> PhotoRow:
  """Writes one photo's crop under `folder`; the row with matrix and path."""
  if row.status != "ok":
    return row
  try:
    matrix = crop_matrix(row.five_points)
    photo = read_photo(row.image_path)
  except FileNotFoundError:
    return row.rejected("the photo is gone")
  except ValueError as error:
    return row.rejected(str(error).removeprefix(f"{row.image_path}: "))
  path = folder / "crops" / f"{row.image_id}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(encode_image(warp_crop(photo, matrix)))
  return dataclasses.replace(row, crop_from_photo=matrix, crop_path=path)


def align_faces(located: pathlib.Path, output: pathlib.Path) -> list[PhotoRow]:
  """Crops all located photos, shard by shard.

  Args:
    located: What locate_landmarks wrote.
    output: The folder to write; new or empty.

  Returns:
    The rows written; their crop_path is in `output`.

  Raises:
    FileNotFoundError: `located` is missing or incomplete.
    ValueError: A manifest is malformed, no photo is left, or `output` is
      taken.
  """
  everything = read_rows(located)
  licences = read_licences(located)
  with (
    new_folder(output) as folder,
    tqdm.tqdm(total=len(everything), desc="aligning", unit="photo") as bar,
  ):
    rows = []
    for manifest in list_manifests(located):
      shard = []
      for row in read_manifest(manifest):
        shard.append(align_row(row, folder))
        bar.update()
      write_manifest(folder / manifest.name, shard)
      rows += shard
    if not any(row.status == "ok" for row in rows):
      raise ValueError(f"{located}: no photo that can be cropped")
    write_about(
      folder,
      "align_faces",
      settings={"crop_template": "SphereFace, 112 x 96"},
      licences=licences,
      counts=count_rows(rows),
    )
  return read_rows(output, aligned=True)


def define_flags() -> None:
  """Defines --located, --output."""
  flags.DEFINE_string(
    "located", None, "What locate_landmarks wrote.", required=True
  )
  flags.DEFINE_string(
    "output", None, "The folder to write; new or empty.", required=True
  )


def main() -> None:
  """Aligns and reports."""
  output = pathlib.Path(flags.FLAGS.output)
  report_rows(align_faces(pathlib.Path(flags.FLAGS.located), output), output)


if __name__ == "__main__":
  command_line.run(main, define_flags)
