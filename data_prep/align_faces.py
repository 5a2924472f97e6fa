r"""Cuts the crops that networks see out of photos in which a face was found.

    python -m data_prep.align_faces --located=located --output=aligned

Each crop is the photo under the similarity that takes the five points nearest
to a template; what lies outside the photo is black. The transform is kept in
the manifest. SphereFace's crop, 112 x 96, is the one this project trains on.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from collections.abc import Callable
import dataclasses
import pathlib

from absl import flags
import cv2
import jax
from jaxtyping import Float, UInt8
import numpy as np

from data_prep import command_line
from data_prep.manifests import PhotoRow, list_manifests, read_manifest
from data_prep.output_files import replace_file
from data_prep.photos import read_photo
from data_prep.resizing import resize_by
from data_prep.shard_loop import fill_shards
from data_prep.stage_about import read_licences, read_stages
from data_prep.stage_folder import ALONE, Share, digest, open_stage, parse_share
from disentangle3d.geometry import similarity_2d
from disentangle3d.types import CROP_TEMPLATE, IMAGE_HEIGHT, IMAGE_WIDTH

STAGE = "align_faces"


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
  """Where the five points come to lie in a crop.

  Attributes:
    title: For about.json.
    points: Eyes, nose tip, mouth corners, `[5, 2]`, crop pixels.
    height: Of the crop.
    width: Of the crop.
  """

  title: str
  points: Float[np.ndarray, "5 2"]
  height: int
  width: int


SPHEREFACE = Template(
  "SphereFace, 112 x 96", CROP_TEMPLATE, IMAGE_HEIGHT, IMAGE_WIDTH
)
# The same, with 8 pixels more on either side.
ARCFACE = Template(
  "ArcFace, 112 x 112",
  CROP_TEMPLATE + np.array([[8, 0]], np.float32),
  IMAGE_HEIGHT,
  112,
)
TEMPLATES = {"sphereface": SPHEREFACE, "arcface": ARCFACE}
# Op by op it takes more time than the rest of a crop.
_similarity = jax.jit(similarity_2d)
# Five points closer together than this are no face.
_LEAST_SPREAD_PX = 1.0


def crop_matrix(
  points: Float[np.ndarray, "5 2"], template: Template = SPHEREFACE
) -> Float[np.ndarray, "2 3"]:
  """`crop_from_photo` of a face.

  Args:
    points: Eyes, nose tip, mouth corners, `[5, 2]`, photo pixels.
    template: Where they go.

  Returns:
    crop = matrix [x, y, 1], `[2, 3]`.

  Raises:
    ValueError: The points coincide.
  """
  points = np.asarray(points, np.float32)
  if np.ptp(points, axis=0).max() < _LEAST_SPREAD_PX:
    raise ValueError("the five points coincide")
  return np.asarray(_similarity(points, template.points))


def warp_crop(
  photo: UInt8[np.ndarray, "H W 3"],
  matrix: Float[np.ndarray, "2 3"],
  template: Template = SPHEREFACE,
) -> UInt8[np.ndarray, "h w 3"]:
  """The crop that `crop_from_photo` makes of a photo.

  A photo that shrinks to less than half is averaged down first, so that no
  pixel is left out.

  Args:
    photo: RGB, `[H, W, 3]`.
    matrix: `crop_from_photo`, `[2, 3]`.
    template: For the crop's size.

  Returns:
    RGB, `[h, w, 3]`; black outside the photo.
  """
  matrix = np.asarray(matrix, np.float64)
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  if scale < 0.5:
    photo, factors = resize_by(photo, 2 * scale)
    enlarge = 1 / factors
    # x = (x_small + 0.5) enlarge - 0.5, pixel centres at integers in both.
    shift = matrix[:, :2] @ (0.5 * enlarge - 0.5) + matrix[:, 2]
    matrix = np.concatenate(
      [matrix[:, :2] * enlarge[None], shift[:, None]], axis=1
    )
  size = (template.width, template.height)
  return cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR)


def align_row(
  row: PhotoRow, folder: pathlib.Path, template: Template = SPHEREFACE
) -> PhotoRow:
  """Writes one photo's crop under `folder`; the row with matrix and path."""
  if row.status != "ok":
    return row
  try:
    matrix = crop_matrix(row.five_points, template)
    photo = read_photo(row.image_path)
  except FileNotFoundError:
    return row.rejected("the photo is gone")
  except ValueError as error:
    return row.rejected(str(error).removeprefix(f"{row.image_path}: "))
  path = folder / "crops" / f"{row.image_id}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  crop = warp_crop(photo, matrix, template)
  # A low level is 5 % larger than the best and several times as fast.
  level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
  _, png = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), level)
  replace_file(path, png.tobytes())
  return dataclasses.replace(row, crop_from_photo=matrix, crop_path=path)


def align_faces(
  located: pathlib.Path,
  output: pathlib.Path,
  *,
  template: Template = SPHEREFACE,
  share: Share = ALONE,
) -> dict[str, int] | None:
  """Crops all located photos, shard by shard.

  Args:
    located: What locate_landmarks wrote; detect_faces will do for crops that
      are not to be fitted.
    output: The folder to write; new, empty, or of an earlier run of this.
    template: Of the crops.
    share: Which shards to make.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    FileNotFoundError: `located` is missing or incomplete.
    ValueError: A manifest is malformed, no photo is left, or `output` holds
      something else.
  """
  manifests = list_manifests(located)
  contents = [path.read_bytes() for path in manifests]
  folder = open_stage(
    output,
    STAGE,
    num_shards=len(manifests),
    settings={"crop_template": template.title},
    licences=read_licences(located),
    inputs=digest(contents),
    stages_before=read_stages(located),
  )

  def make_rows(
    shard: int, progress: Callable[[int], object]
  ) -> list[PhotoRow]:
    rows = []
    for row in read_manifest(manifests[shard]):
      rows.append(align_row(row, output, template))
      progress(1)
    return rows

  num_photos = sum(content.count(b"\n") for content in contents)
  return fill_shards(folder, share, make_rows, num_photos=num_photos)


def define_flags() -> None:
  """Defines --located, --output, --template, --shard."""
  flags.DEFINE_string(
    "located", None, "What locate_landmarks wrote.", required=True
  )
  flags.DEFINE_string(
    "output", None, "The folder to write, or to go on with.", required=True
  )
  flags.DEFINE_enum(
    "template",
    "sphereface",
    list(TEMPLATES),
    "Of the crops: sphereface is 112 x 96, which training takes; arcface is"
    " 112 x 112.",
  )
  flags.DEFINE_string("shard", "0/1", "This machine's part, i/n.")


def main() -> None:
  """Aligns and reports."""
  align_faces(
    pathlib.Path(flags.FLAGS.located),
    pathlib.Path(flags.FLAGS.output),
    template=TEMPLATES[flags.FLAGS.template],
    share=parse_share(flags.FLAGS.shard),
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
