"""The stage `align_faces`: crops of located faces, shard by shard."""

import dataclasses
import functools
import pathlib

import cv2

from data_prep.photos.crops import SPHEREFACE, Template, crop_matrix, warp_crop
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.about import read_licences, read_stages
from data_prep.stages.engine import LOCAL, Engine, Work
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from data_prep.stages.shard_loop import fill_shards
from data_prep.stages.shard_rows import ShardRows, each_row
from disentangle3d.output_files import replace_file

STAGE = "align_faces"


def _align_row(
  folder: pathlib.Path, template: Template, row: PhotoRow
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
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Crops all located photos, shard by shard.

  Args:
    located: What locate_landmarks wrote; detect_faces will do for crops that
      are not to be fitted.
    output: The folder to write; new, empty, or of an earlier run of this.
    template: Of the crops.
    share: Which shards to make.
    engine: Who makes them.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    FileNotFoundError: `located` is missing or incomplete.
    ValueError: A manifest is malformed, no photo is left, or `output` holds
      something else.
  """
  manifests = list_manifests(located)
  contents = [path.read_bytes() for path in manifests]

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
    align = functools.partial(_align_row, output, template)
    make = ShardRows(
      folder,
      read_shard_rows,
      functools.partial(each_row, align),
      PhotoRow.rejected,
    )
    return fill_shards(
      folder,
      share,
      Work(make, part=manifests.__getitem__),
      num_photos=num_photos,
      engine=engine,
    )
