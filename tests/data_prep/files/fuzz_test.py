"""Whatever bytes a file has, a reader reads them or says what is wrong.

Each reader gets arbitrary bytes, the start of a good file with arbitrary bytes
after it, and good files with a few bytes overwritten, inserted or cut out, and
may only raise ValueError, with the file's name, in one line.
"""

import io
import json
import pathlib
import pickle
import tarfile
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import cv2
import hypothesis
import numpy as np
from PIL import Image
import scipy.io

from data_prep.evaluation_sets.bnd import read_bnd
from data_prep.evaluation_sets.lfw import read_lfw_pairs
from data_prep.evaluation_sets.ljson import read_ljson
from data_prep.evaluation_sets.scans import ScanFiles, read_scan
from data_prep.evaluation_sets.verification_bin import read_verification_bin
from data_prep.evaluation_sets.vrml import read_vrml
from data_prep.evaluation_sets.ytf import read_meta_and_splits, read_splits
from data_prep.faces.five_point_lists import read_five_points
from data_prep.faces.pts import read_pts
from data_prep.files.archives import TarArchive, ZipArchive
from data_prep.files.caffe_files import read_caffemodel
from data_prep.files.matlab import read_arrays
from data_prep.files.npy_files import open_npz, read_npy_dict
from data_prep.files.pickled_arrays import as_array, read_pickled_objects
from data_prep.files.recordio import RecordFile, read_names
from data_prep.files.torch_files import read_state_dict
from data_prep.models import ict_facekit
from data_prep.photos.loose_photos import read_photos
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.rows import PhotoRow, read_shard_rows, write_manifest
from disentangle3d.faces.landmark_calibration import (
  load_landmark_calibration,
  save_landmark_calibration,
)
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
  save_morphable_model,
)
from tests.data_prep.evaluation_sets import (
  lfw_test,
  ljson_test,
  scans_test,
  vrml_test,
  ytf_test,
)
from tests.data_prep.faces import pts_test
from tests.data_prep.files import (
  archives_test,
  caffe_layout,
  python2_pickle,
  record_files,
  recordio_test,
  torch_layout,
)
from tests.data_prep.files.fuzzing import FEW, damaged
from tests.fixtures import random_calibration, random_morphable_model


def _read_numbers(path: pathlib.Path) -> None:
  read_arrays(path, ("w",))


def _image(kind: str, mode: str = "RGB") -> bytes:
  buffer = io.BytesIO()
  noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
  Image.fromarray(noise).convert(mode).save(buffer, kind)
  return buffer.getvalue()


def _written(write, name: str, *arguments, **options) -> bytes:
  with tempfile.TemporaryDirectory() as scratch:
    path = pathlib.Path(scratch) / name
    write(path, *arguments, **options)
    return path.read_bytes()


def _film() -> bytes:
  """Three frames of Motion JPEG."""
  with tempfile.TemporaryDirectory() as scratch:
    path = pathlib.Path(scratch) / "a.avi"
    code = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), code, 10, (32, 24))
    for level in (0, 100, 200):
      video.write(np.full((24, 32, 3), level, np.uint8))
    video.release()
    return path.read_bytes()


def _mat(compressed: bool = False, **variables) -> bytes:
  buffer = io.BytesIO()
  scipy.io.savemat(buffer, variables, do_compression=compressed)
  return buffer.getvalue()


def _read_records(path: pathlib.Path) -> None:
  """Of the .rec and .idx, the one that is not fuzzed is good."""
  for suffix, good in ((".rec", _RECORDS), (".idx", _INDEX)):
    if path.suffix != suffix:
      path.with_suffix(suffix).write_bytes(good)
  records = RecordFile(path.with_suffix(".rec"))
  for key in records.photo_labels():
    records.read(str(key))


def _read_members(kind):
  def read(path: pathlib.Path) -> None:
    archive = kind(path)
    for name in archive.names():
      archive.read(name)

  return read


def _read_mesh(path: pathlib.Path) -> None:
  read_scan(ScanFiles("a", "NE", 0, path, None, ()))


def _record_pair() -> tuple[bytes, bytes]:
  payloads = record_files.insightface_payloads(recordio_test.PEOPLE)
  with tempfile.TemporaryDirectory() as scratch:
    path = pathlib.Path(scratch) / "a.rec"
    record_files.write_records(path, payloads)
    return path.read_bytes(), path.with_suffix(".idx").read_bytes()


def _read_npz(path: pathlib.Path) -> None:
  with open_npz(path) as file:
    for name in file.names:
      file.array(name)
      if name == "rows":
        list(file.row_blocks(name))


def _read_pickle(path: pathlib.Path) -> None:
  for key, value in read_pickled_objects(path).items():
    as_array(value, f"{path}: {key}")


def _chumpy() -> bytes:
  array = python2_pickle.Array(np.arange(6.0).reshape(2, 3))
  whole = python2_pickle.Object("chumpy.ch", "Ch", {"x": array})
  return python2_pickle.dumps({"whole": whole, "plain": array})


def _facekit_archive(kind: str) -> bytes:
  """FaceXModel packed, but for its identity meshes."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
    for name, content in _FACEKIT.items():
      info = tarfile.TarInfo(f"FaceXModel/{name}")
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return buffer.getvalue()


def _read_facekit(path: pathlib.Path) -> None:
  """Up to the identity meshes, which are not there."""
  few = {"_NUM_VERTICES": 6_707, "_NUM_POLYGONS": 2}
  with mock.patch.multiple(ict_facekit, **few):
    try:
      ict_facekit.read_ict_facekit(path, region="narrow")
    except FileNotFoundError as error:
      if str(path) not in str(error):
        raise AssertionError("the file is not named") from error


def _read_facekit_file(path: pathlib.Path) -> None:
  for name, content in _FACEKIT.items():
    if name != path.name:
      path.with_name(name).write_bytes(content)
  _read_facekit(path.parent)


_ARRAYS = {
  "rows": np.arange(6.0).reshape(3, 2),
  "objects": np.array([{"a": 1}, None], object),
}
_WEIGHTS = {
  "conv1_1": np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1),
  "fc5": np.ones((2, 3), np.float32),
}
_LAYERS = {name: [array] for name, array in _WEIGHTS.items()}
_NEUTRAL = b"v 0.5 -1.25 3\n" * 6_707 + b"f 1/1 2/2 3/3\nf 1/1 2/2 3/3 4/4\n"
_INDICES = json.dumps(
  {
    "expressions": [f"shape{i}" for i in range(53)],
    "idx_to_landmark_verts": [*range(68)],
  }
).encode()
_FACEKIT = {
  "generic_neutral_mesh.obj": _NEUTRAL,
  "vertex_indices.json": _INDICES,
}
_RECORDS, _INDEX = _record_pair()
_MODEL = random_morphable_model(
  num_vertices=70, identity_dim=2, expression_dim=1
)
_ROW = PhotoRow(
  image_path=pathlib.Path("ann/1.jpg"),
  subject="ann",
  image_id="ann/1.jpg",
  status="ok",
  box=np.arange(4, dtype=np.float32),
  five_points=np.ones((5, 2), np.float32),
)
_VIDEO_NAMES = np.array(ytf_test.VIDEOS, object)
_SPLITS = np.moveaxis(ytf_test.META, 0, -1)
_DEEP_TIFF = cv2.imencode(".tiff", np.full((9, 7, 4), 999, np.uint16))[1]
# File name, a good file, its reader.
READERS = (
  *(
    (f"photo.{kind.lower()}", _image(kind), read_photo)
    for kind in ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "TIFF", "AVIF")
  ),
  ("photo.pgm", _image("PPM", "L"), read_photo),
  ("deep.tiff", _DEEP_TIFF.tobytes(), read_photo),
  ("train.rec", _RECORDS, _read_records),
  ("train.idx", _INDEX, _read_records),
  (
    "train.lst",
    b"1\ta/1.jpg\t0\n1\ta/2.jpg\t0\n",
    lambda path: read_names(path, {1: 0, 2: 0}),
  ),
  ("zip.zip", _written(archives_test.write_zip, "a", compression=8),
   _read_members(ZipArchive)),
  ("tar.tar", _written(archives_test.write_tar, "a"),
   _read_members(TarArchive)),
  ("gzip.tgz", _written(archives_test.write_tar, "a", mode="w:gz"),
   _read_members(TarArchive)),
  ("xz.txz", _written(archives_test.write_tar, "a", mode="w:xz"),
   _read_members(TarArchive)),
  *(
    (
      f"set_{protocol}.bin",
      pickle.dumps(([b"one", b"\xfftwo"], [True]), protocol),
      read_verification_bin,
    )
    for protocol in (0, 2, 4)
  ),
  ("face.mat", _mat(w=np.ones((3, 68))), _read_numbers),
  ("small.mat", _mat(True, w=np.ones((3, 68))), _read_numbers),
  ("ytf.mat", _mat(video_names=_VIDEO_NAMES, Splits=_SPLITS),
   read_meta_and_splits),
  ("face.pts", pts_test.pts_bytes(np.ones((68, 2))), read_pts),
  ("face.bnd", scans_test.bnd_text().encode(), read_bnd),
  ("face.ljson", ljson_test.text().encode(), read_ljson),
  ("face.wrl", vrml_test.FACE.encode(), read_vrml),
  ("face.obj", b"v 1 2 3\nv 1 2 4\nv 2 2 3\nf 1 2 3\n", _read_mesh),
  ("face.ply", _written(write_mesh, "a.ply", np.eye(3), np.array([[0, 1, 2]])),
   _read_mesh),
  *(
    (f"{kind}.npz", _written(save, "a.npz", **_ARRAYS), _read_npz)
    for kind, save in (("plain", np.savez), ("small", np.savez_compressed))
  ),
  ("dict.npy", _written(np.save, "a.npy", _ARRAYS), read_npy_dict),
  ("numpy.pkl", pickle.dumps(_ARRAYS, 4), _read_pickle),
  ("python2.pkl", _chumpy(), _read_pickle),
  *(
    (f"facekit_{kind}.tar", _facekit_archive(kind), _read_facekit)
    for kind in ("", "xz", "gz", "bz2")
  ),
  ("generic_neutral_mesh.obj", _NEUTRAL, _read_facekit_file),
  ("vertex_indices.json", _INDICES, _read_facekit_file),
  ("zip.pth", _written(torch_layout.write_archive, "a.pth", _WEIGHTS),
   read_state_dict),
  ("old.pth", _written(torch_layout.write_stream, "a.pth", _WEIGHTS),
   read_state_dict),
  ("new.caffemodel", caffe_layout.caffemodel(_LAYERS), read_caffemodel),
  ("old.caffemodel", caffe_layout.caffemodel(_LAYERS, old=True),
   read_caffemodel),
  ("pairs.txt", lfw_test.LIST.encode(), read_lfw_pairs),
  ("points.txt", b"a/1.jpg\t1 2 3 4 5 6 7 8 9 10\n", read_five_points),
  ("model.npz", _written(save_morphable_model, "a.npz", _MODEL),
   load_morphable_model),
  ("calibration.npz",
   _written(save_landmark_calibration, "a.npz", random_calibration(_MODEL)),
   load_landmark_calibration),
  ("manifest-00000-of-00001.jsonl",
   _written(write_manifest, "a.jsonl", [_ROW]), read_shard_rows),
  ("film.avi", _film(), lambda path: list(read_photos([path]))),
  ("splits.txt", ytf_test.SPLITS.encode(), read_splits),
)  # fmt: skip


class FuzzTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (name.replace(".", "_"), name, good, read) for name, good, read in READERS
  )
  def test_only_value_errors_that_name_the_file(self, name, good, read):
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    path = pathlib.Path(scratch.name) / name

    @FEW
    @hypothesis.given(damaged(good))
    def check(content: bytes) -> None:
      path.write_bytes(content)
      try:
        read(path)
      except ValueError as error:
        stem = path.with_suffix("").name
        self.assertIn(stem, str(error))
        self.assertLen(str(error).splitlines(), 1)

    path.write_bytes(good)
    read(path)
    check()


if __name__ == "__main__":
  absltest.main()
