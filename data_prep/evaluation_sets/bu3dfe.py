"""Lists the scans of BU-3DFE.

F0001/F0001_AN01WH_F3D.wrl   the face: subject, expression, level, ancestry
F0001/F0001_AN01WH_F3D.bnd   its 83 landmarks
F0001/F0001_AN01WH_F2D.bmp   the photo
"""

import os
import pathlib
import re

from data_prep.evaluation_sets.scans import ScanFiles
from disentangle3d.input_files import existing_folder
from disentangle3d.types import UserError

NEUTRAL = "NE"
_NAME = re.compile(
  r"([FM]\d{4})_(AN|DI|FE|HA|NE|SA|SU)(0[0-4])[A-Z]{2}_F3D\.wrl", re.IGNORECASE
)


def list_bu3dfe(root: str | os.PathLike[str]) -> list[ScanFiles]:
  """All face scans, by subject, expression and level.

  Args:
    root: The folder that holds F0001 to M0044.

  Returns:
    2,500 scans of 100 subjects, where the set is whole; the paper takes those
    of level 0 and 1.

  Raises:
    UserFileNotFoundError: There is no such folder.
    UserError: It holds no scan, or one whose level does not go with its
      expression.
  """
  root = pathlib.Path(os.path.abspath(root))
  existing_folder(root)
  scans = []
  for path in sorted(root.glob("[FM]*/*.wrl")):
    name = _NAME.fullmatch(path.name)
    if name is None:
      continue
    subject, expression, level = name[1], name[2].upper(), int(name[3])
    if (expression == NEUTRAL) != (level == 0):
      raise UserError(
        f"{path}: expected level 00 for NE and 01 to 04 else, got"
        f" {expression}{level:02d}"
      )
    landmarks = path.with_suffix(".bnd")
    photo = path.with_name(path.name[: -len("F3D.wrl")] + "F2D.bmp")
    scans.append(
      ScanFiles(
        subject=subject,
        expression=expression,
        level=level,
        mesh_path=path,
        landmarks_path=landmarks if landmarks.is_file() else None,
        photo_paths=(photo,) if photo.is_file() else (),
      )
    )
  if not scans:
    raise UserError(
      f"{root}: expected scans as F0001/F0001_AN01WH_F3D.wrl, found none"
    )
  return scans
