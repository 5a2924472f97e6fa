"""The stage `align_faces`: crops of located faces, shard by shard."""

from collections.abc import Callable
import dataclasses
import pathlib

from data_prep.photos.crops import SPHEREFACE, Template, crop_matrix, warp_crop
from data_prep.photos.encoding import png_bytes
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.about import read_licences, read_stages
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from data_prep.stages.shard_loop import fill_shards
from disentangle3d.output_files import replace_file

STAGE = "align_faces"


def _align_row(
  row: PhotoRow, folder: pathlib.Path, template: Template = SPHEREFACE
) -> PhotoRow:
  """Writes one photo's crop under `folder`; the row with matrix and path."""
  if row.status != "ok":
    return row
  if row.five_points is None:
    return row.rejected("no five points")
  try:
    matrix = crop_matrix(row.five_points, template)
    photo = read_photo(row.image_path, most_megapixels=None)
  except FileNotFoundError:
    return row.rejected("the photo is gone")
  except ValueError as error:
    return row.rejected(str(error).removeprefix(f"{row.image_path}: "))
  path = folder / "crops" / f"{row.image_id}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  replace_file(path, png_bytes(warp_crop(photo, matrix, template)))
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

  def make_rows(
    shard: int, progress: Callable[[int], object]
  ) -> list[PhotoRow]:
    rows = []
    for row in read_shard_rows(manifests[shard]):
      rows.append(_align_row(row, output, template))
      progress(1)
    return rows

  num_photos = sum(content.count(b"\n") for content in contents)
  with open_stage(
    output,
    STAGE,
    num_shards=len(manifests),
    settings={"crop_template": template.title},
    licences=read_licences(located),
    inputs=digest(contents),
    stages_before=read_stages(located),
    share=share,
  ) as folder:
    return fill_shards(folder, share, make_rows, num_photos=num_photos)
