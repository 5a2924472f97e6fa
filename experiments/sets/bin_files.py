"""Verification sets of one file (.bin), whose faces are aligned already."""

import os
import pathlib

from absl import logging
from jaxtyping import Bool, Int
import numpy as np

from data_prep.evaluation_sets.verification_bin import read_verification_bin
from data_prep.photos.decoding import decode_photo
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError
from experiments.sets.crop_files import BLACK
from experiments.sets.faces import FaceSet
from experiments.sets.missing import CROP, SCORE, check_missing
from experiments.sets.rivals import Rivals

_FOLDS = 10
# ArcFace's template for 112 x 112 is SphereFace's for 112 x 96, 8 pixels on.
_ARCFACE_SIZE, _ARCFACE_MARGIN = 112, 8
_NO_RIVALS = Rivals()


def bin_set(
  path: str | os.PathLike[str],
  *,
  missing: str = CROP,
  rivals: Rivals = _NO_RIVALS,
) -> FaceSet:
  """A .bin file: ten folds, one after the other.

  Where that gives folds of one kind (all genuine pairs stand first), each fold
  takes a tenth of the genuine and of the impostor pairs, in their order.

  Args:
    path: The file.
    missing: What to do about images without a byte, which some writers leave
      where they found no face, and about damaged ones, which are told: `FAIL`
      refuses the set; else their pairs get the lowest score, because there is
      no picture to take the middle of.
    rivals: Of which eigenfaces alone; the file has no landmarks.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is malformed, has no image that can be read, or its pairs
      make no ten equal folds with both kinds in each.
  """
  content = read_verification_bin(path)
  places = np.arange(len(content.same))
  names = [f"image {number}" for number in range(len(content.images))]
  images = [
    _decoded(image, f"{path}: {name}")
    for name, image in zip(names, content.images, strict=True)
  ]
  without_face = np.array([image is None for image in images])
  if without_face.all():
    raise UserError(
      f"{path}: expected images, none of {len(images)} can be read"
    )
  check_missing(names, without_face, missing, str(path))
  return FaceSet(
    name=pathlib.Path(path).name,
    images=np.stack(
      [
        BLACK if image is None else _cut(image, f"{path}: {name}")
        for name, image in zip(names, images, strict=True)
      ]
    ),
    pairs=Pairs(
      first=2 * places,
      second=2 * places + 1,
      same=content.same,
      fold=_bin_folds(content.same, path),
    ),
    training_images=rivals.training_images,
    missing=without_face,
    policy=SCORE,
  )


def _bin_folds(
  same: Bool[np.ndarray, "P"], path: str | os.PathLike[str]
) -> Int[np.ndarray, "P"]:
  """The fold of each pair; see `bin_set`."""
  count, genuine = len(same), int(same.sum())
  if count % _FOLDS:
    raise UserError(
      f"{path}: expected a number of pairs that {_FOLDS} divides, for as many"
      f" equal folds, got {count}"
    )
  if min(genuine, count - genuine) < _FOLDS:
    raise UserError(
      f"{path}: expected genuine and impostor pairs for {_FOLDS} folds each,"
      f" got {genuine} and {count - genuine}"
    )
  size = count // _FOLDS
  parts = same.reshape(_FOLDS, size).sum(1)
  if 0 < parts.min() and parts.max() < size:
    return np.repeat(np.arange(_FOLDS), size)
  logging.info(
    "%s: not every tenth of the pairs has both kinds, so each fold takes a"
    " tenth of the genuine and of the impostor pairs.",
    path,
  )
  fold = np.empty(count, np.int64)
  fold[same] = np.arange(genuine) * _FOLDS // genuine
  shares = size - np.bincount(fold[same], minlength=_FOLDS)
  fold[~same] = np.repeat(np.arange(_FOLDS), shares)
  return fold


def _decoded(content: bytes, where: str) -> np.ndarray | None:
  """An image of a .bin file; None where there is none, or a damaged one."""
  if not content:
    return None
  try:
    return decode_photo(content, where).image
  except UserError as error:
    logging.warning("%s; its pairs have the lowest score", error)
    return None


def _cut(image: np.ndarray, where: str) -> np.ndarray:
  """The crop in an image that is as large, or is ArcFace's."""
  if image.shape[:2] == (_ARCFACE_SIZE, _ARCFACE_SIZE):
    image = image[:, _ARCFACE_MARGIN : _ARCFACE_SIZE - _ARCFACE_MARGIN]
  if image.shape[:2] != (IMAGE_HEIGHT, IMAGE_WIDTH):
    raise UserError(
      f"{where}: expected 112 x 112 or 112 x 96 pixels, got"
      f" {image.shape[0]} x {image.shape[1]}"
    )
  return image
