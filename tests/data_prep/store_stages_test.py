"""The stages in an object store: the bytes that they write on a disk."""

import os
import pathlib
import shutil
import tempfile
from unittest import mock

from absl.testing import absltest
import chex
import fsspec
import numpy as np
from PIL import Image
import pytest

from data_prep.datasets.building import build_dataset
from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, list_source
from data_prep.faces.location import locate_landmarks, rows_of_stage
from data_prep.faces.locators import PtsLocator
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.engine import LOCAL, Engine
from data_prep.stages.ray_engine import RayEngine
from disentangle3d.geometry import five_points
from disentangle3d.stores import as_path
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from experiments.benchmarks.known_faces import known_faces
from tests.data_prep import ray_nodes
from tests.fixtures import free_port, random_morphable_model

_PEOPLE, _PHOTOS = 3, 2
_MODEL = random_morphable_model(identity_dim=6, expression_dim=3)


def _write_photos(folder: pathlib.Path) -> None:
  """Photos with landmarks and five points, and one that is none."""
  faces = known_faces(_MODEL, _PEOPLE, _PHOTOS, noise_px=0.3)
  lines = []
  for person, photo in np.ndindex(_PEOPLE, _PHOTOS):
    name = f"p{person}/{photo}"
    landmarks = faces.landmarks[person, photo]
    for kind in ("photos", "points"):
      (folder / kind / f"p{person}").mkdir(parents=True, exist_ok=True)
    image = np.full((112, 96, 3), 60 + 20 * person, np.uint8)
    Image.fromarray(image).save(folder / "photos" / f"{name}.png")
    xy = "\n".join(f"{x + 1} {y + 1}" for x, y in landmarks)
    (folder / "points" / f"{name}.pts").write_text(
      f"version: 1\nn_points: 68\n{{\n{xy}\n}}\n"
    )
    five = np.asarray(five_points(landmarks)).ravel()
    lines.append(f"{name}.png " + " ".join(map(str, five)))
  (folder / "photos" / "p0" / "9.png").write_text("no image")
  lines.append(lines[0].replace("p0/0.png", "p0/9.png"))
  (folder / "list.txt").write_text("\n".join(lines))


def _prepare(
  photos: pathlib.Path,
  texts: pathlib.Path,
  output: pathlib.Path,
  crops: str = "files",
  engine: Engine = LOCAL,
):
  detect_faces(
    list_photos(photos),
    output / "detected",
    list_source(texts / "list.txt"),
    photos_per_shard=4,
    engine=engine,
  )
  locate_landmarks(
    rows_of_stage(output / "detected"),
    output / "located",
    PtsLocator(texts / "points", licence="mine"),
    engine=engine,
  )
  align_faces(
    output / "located", output / "aligned", crops=crops, engine=engine
  )
  fit_faces(
    output / "aligned",
    _MODEL,
    output / "fitted",
    settings=FitSettings(contour="off", images_per_shard=4),
    engine=engine,
  )
  build_dataset(
    output / "fitted", output / "dataset", heldout="1", engine=engine
  )


def _files(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


class StoreStagesTest(absltest.TestCase):
  def test_the_same_bytes_as_on_a_disk(self):
    store = fsspec.filesystem("memory")
    store.store.clear()
    with tempfile.TemporaryDirectory() as scratch:
      folder = pathlib.Path(scratch)
      _write_photos(folder)
      set_zip = shutil.make_archive(
        str(folder / "set"), "zip", folder, "photos"
      )
      photos = as_path("memory://bucket/set.zip")
      photos.write_bytes(pathlib.Path(set_zip).read_bytes())
      _prepare(pathlib.Path(set_zip), folder, folder / "out")
      _prepare(photos, folder, as_path("memory://bucket/out"))
      names = as_path("memory://bucket/out").names()
      expected = _files(folder / "out")
      self.assertEqual(set(names), set(expected))
      for name, content in expected.items():
        stored = as_path(f"memory://bucket/out/{name}").read_bytes()
        self.assertEqual(stored, content, name)
      # Crops in tar shards make the same records, and are a set of photos.
      tars = as_path("memory://bucket/tars")
      _prepare(photos, folder, tars, crops="tar")
      self.assertEmpty([n for n in tars.names() if n.endswith(".png")])
      for name in ("train-00000-of-00001", "heldout-00000-of-00001"):
        self.assertEqual(
          (tars / f"dataset/{name}.array_record").read_bytes(),
          expected[f"dataset/{name}.array_record"],
        )
      self.assertEqual(
        {photo.image_id for photo in list_photos(tars / "aligned")},
        {f"p{i}/{j}.png" for i, j in np.ndindex(_PEOPLE, _PHOTOS)},
      )
      # What is there is not made again; what is not, is.
      lost = as_path(
        "memory://bucket/out/located/manifest-00001-of-00002.jsonl"
      )
      kept = as_path(
        "memory://bucket/out/located/manifest-00000-of-00002.jsonl"
      )
      lost.unlink()
      before = kept.stat().st_mtime_ns
      locate_landmarks(
        rows_of_stage(as_path("memory://bucket/out/detected")),
        as_path("memory://bucket/out/located"),
        PtsLocator(folder / "points", licence="mine"),
      )
      self.assertEqual(kept.stat().st_mtime_ns, before)
      self.assertEqual(
        lost.read_bytes(), expected["located/manifest-00001-of-00002.jsonl"]
      )


@pytest.mark.slow
@pytest.mark.timeout(900)
class ServerTest(absltest.TestCase):
  """A store's own protocol, spoken with a server on this machine."""

  def test_amazons(self):
    for package in ("s3fs", "moto"):
      pytest.importorskip(package)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    self.addCleanup(server.stop)
    self._check(
      "s3",
      {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
      },
    )

  def test_googles(self):
    # Read as gcsfs is imported: an emulator speaks no gRPC.
    self.enterContext(
      mock.patch.dict(os.environ, GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT="false")
    )
    for package in ("gcsfs", "gcp_storage_emulator"):
      pytest.importorskip(package)
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    self.addCleanup(server.stop)
    self._check(
      "gs",
      {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "FSSPEC_GS_TOKEN": "anon",
        "FSSPEC_GS_PROJECT": "anything",
      },
    )

  def _check(self, scheme: str, environment: dict[str, str]) -> None:
    """Workers on Ray write the bytes of a disk, and they can be read."""
    # Ray's processes inherit it.
    self.enterContext(mock.patch.dict(os.environ, environment))
    self.enterContext(mock.patch.dict(fsspec.config.conf))
    fsspec.config.set_conf_env(fsspec.config.conf)
    store = fsspec.filesystem(scheme, skip_instance_cache=True)
    store.mkdir("bucket")
    folder = pathlib.Path(self.create_tempdir().full_path)
    _write_photos(folder)
    set_zip = shutil.make_archive(str(folder / "set"), "zip", folder, "photos")
    store.put_file(set_zip, "bucket/set.zip")
    _prepare(pathlib.Path(set_zip), folder, folder / "out", crops="tar")
    bucket = as_path(f"{scheme}://bucket")
    out = bucket / "out"
    with ray_nodes.two_nodes() as cluster:
      engine = RayEngine(cluster.address)
      _prepare(bucket / "set.zip", folder, out, "tar", engine)
    expected = _files(folder / "out")
    self.assertEqual(set(out.names()), set(expected))
    for name, content in expected.items():
      self.assertEqual((out / name).read_bytes(), content, name)
    disk, stored = (
      RecordReader(open_dataset(where, "train"))
      for where in (folder / "out/dataset", f"{bucket}/out/dataset")
    )
    every = range(len(disk))
    chex.assert_trees_all_equal(stored.read(every), disk.read(every))


if __name__ == "__main__":
  absltest.main()
