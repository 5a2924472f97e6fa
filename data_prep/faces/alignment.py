"""The stage `align_faces`: crops of located faces, shard by shard."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib

from data_prep.files.tar_shards import new_tar_shard
from data_prep.photos.crops import SPHEREFACE, Template, crop_matrix, warp_crop
from data_prep.photos.encoding import png_bytes
from data_prep.photos.photo_sets import in_archive, read_photo
from data_prep.stages.about import read_licences, read_stages
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import (
  ALONE,
  Share,
  StageFolder,
  digest,
  open_stage,
)
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from data_prep.stages.shard_loop import fill_shards
from data_prep.stages.shard_rows import ShardRows, each_row
from disentangle3d.output_files import replace_file
from disentangle3d.types import NUM_LANDMARKS

STAGE = "align_faces"


CROPS = ("files", "tar")
# Writes a row's crop, a PNG; where it is then.
_Write = Callable[[PhotoRow, bytes], pathlib.Path]


def _align_row(write: _Write, template: Template, row: PhotoRow) -> PhotoRow:
  """Writes one photo's crop; the row with matrix and path."""
  if row.status != "ok":
    return row
  whole = len(template.points) == NUM_LANDMARKS
  points = row.landmarks if whole else row.five_points
  if points is None:
    return row.rejected("no landmarks" if whole else "no five points")
  try:
    matrix = crop_matrix(points, template)
    photo = read_photo(row.image_path, most_megapixels=None)
  except FileNotFoundError:
    return row.rejected("the photo is gone")
  except ValueError as error:
    return row.rejected(str(error).removeprefix(f"{row.image_path}: "))
  path = write(row, png_bytes(warp_crop(photo, matrix, template)))
  return dataclasses.replace(row, crop_from_photo=matrix, crop_path=path)


def _write_file(
  folder: pathlib.Path, row: PhotoRow, png: bytes
) -> pathlib.Path:
  path = folder / "crops" / f"{row.image_id}.png"
  path.parent.mkdir(parents=True, exist_ok=True)
  replace_file(path, png)
  return path


def _align_files(
  folder: StageFolder,
  template: Template,
  shard: int,
  rows: Sequence[PhotoRow],
  progress: Progress,
) -> list[PhotoRow]:
  """Crops in a file each."""
  write = functools.partial(_write_file, folder.path)
  align = functools.partial(_align_row, write, template)
  return each_row(align, shard, rows, progress)


def _align_tar(
  folder: StageFolder,
  template: Template,
  shard: int,
  rows: Sequence[PhotoRow],
  progress: Progress,
) -> list[PhotoRow]:
  """Crops in a tar shard beside the manifest."""
  name = folder.manifest(shard).name.replace("manifest-", "crops-", 1)
  path = (folder.path / name).with_suffix(".tar")
  with new_tar_shard(path) as tar:

    def write(row: PhotoRow, png: bytes) -> pathlib.Path:
      key = f"{shard:05d}_{places[row.image_id]:06d}"
      about = {"subject": row.subject, "image_id": row.image_id}
      tar.add(key, {"png": png, "json": about})
      return in_archive(path, f"{key}.png")

    places = {row.image_id: place for place, row in enumerate(rows)}
    align = functools.partial(_align_row, write, template)
    return each_row(align, shard, rows, progress)


def align_faces(
  located: pathlib.Path,
  output: pathlib.Path,
  *,
  template: Template = SPHEREFACE,
  crops: str = "files",
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Crops all located photos, shard by shard.

  Args:
    located: What locate_landmarks wrote; detect_faces will do for crops by
      five points that are not to be fitted.
    output: The folder to write; new, empty, or of an earlier run of this.
    template: Of the crops.
    crops: Of `CROPS`: a file each, or a tar shard beside each manifest, with
      which a store has a thousandth of the files.
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

  # What was begun without the choice goes on.
  told = {} if crops == "files" else {"crops": crops}
  num_photos = sum(content.count(b"\n") for content in contents)
  with open_stage(
    output,
    STAGE,
    num_shards=len(manifests),
    settings={"crop_template": template.title} | told,
    licences=read_licences(located),
    inputs=digest(contents),
    stages_before=read_stages(located),
    share=share,
  ) as folder:
    align = _align_tar if crops == "tar" else _align_files
    make = ShardRows(
      folder,
      read_shard_rows,
      functools.partial(align, folder, template),
      PhotoRow.rejected,
    )
    return fill_shards(
      folder,
      share,
      ShardWork(make, part=manifests.__getitem__),
      num_photos=num_photos,
      engine=engine,
    )
