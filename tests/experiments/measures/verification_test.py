"""Verification of whole sets: published layouts written by the test."""

import dataclasses
import pathlib
import pickle

from absl.testing import absltest
import jax
import numpy as np

from data_prep.stages.rows import (
  PhotoRow,
  manifest_path,
  read_shard_rows,
  write_manifest,
)
from disentangle3d.evaluation.pairs import pair_scores
from disentangle3d.evaluation.verification import verify
from disentangle3d.inference import encode
from disentangle3d.network.face_model import (
  FaceModel,
  init_params,
  widen_to_map,
)
from disentangle3d.reporting.html_page import Grid, Table
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.training.export import Network, load_network, save_network
from experiments.evaluations.textures import textures_of
from experiments.measures.codes import encode_crops, encode_trunk
from experiments.measures.verification import (
  TRUNK,
  eigenfaces,
  identify_in_gallery,
  measure_faces,
)
from experiments.pages.paper_tables import FUSION, LFW
from experiments.pages.verification import face_rows, face_sections
from experiments.sets import published as published_sets
from experiments.sets.bin_files import bin_set
from experiments.sets.scores import read_scores
from tests.fixtures import random_leaves, random_morphable_model

_PEOPLE = ("Ann", "Bob", "Cid", "Dan")


def _face(person, photo):
  """A pattern of the person's, with a little noise of the photo's."""
  shared = np.random.default_rng(person).integers(40, 200, (14, 12, 3))
  noise = np.random.default_rng([person, photo]).integers(0, 40, (112, 96, 3))
  return (np.kron(shared, np.ones((8, 8, 1))) + noise).astype(np.uint8)


def _aligned(folder, image_ids):
  """What align_faces writes, for `image_ids` of "person/..." names."""
  rows = []
  for number, image_id in enumerate(image_ids):
    subject = image_id.split("/")[0]
    crop = folder / "crops" / f"{image_id}.png"
    crop.parent.mkdir(parents=True, exist_ok=True)
    crop.write_bytes(picture_png(_face(_PEOPLE.index(subject), number)))
    rows.append(
      PhotoRow(
        image_path=folder / image_id,
        subject=subject,
        image_id=image_id,
        status="ok",
        detector="test",
        box=np.array([0.0, 0, 96, 112]),
        five_points=np.ones((5, 2)),
        landmarks=np.ones((68, 2)),
        visibility=np.ones(68),
        crop_from_photo=np.eye(2, 3),
        crop_path=crop,
      )
    )
  write_manifest(manifest_path(folder, 0, 1), rows)


def _lfw(folder):
  """Three photos of each person and two folds of pairs."""
  ids = [f"{n}/{n}_{i:04d}.jpg" for n in _PEOPLE for i in (1, 2, 3)]
  _aligned(folder, ids)
  path = folder / "pairs.txt"
  path.write_text(
    "2\t2\nAnn\t1\t2\nBob\t1\t3\nAnn\t1\tBob\t2\nBob\t3\tAnn\t2\n"
    "Cid\t1\t2\nDan\t1\t3\nCid\t1\tDan\t2\nDan\t3\tCid\t2\n"
  )
  return path


def _network():
  model = FaceModel(
    trunk="tiny", identity_dim=12, residual_dim=5, num_vertices=120
  )
  morphable = random_morphable_model()
  params = init_params(jax.random.key(0), model, morphable)
  return Network(
    model=model,
    params=jax.device_get(params),
    triangles=morphable.triangles,
    landmark_vertices=morphable.landmark_vertices,
  )


class PublishedSetsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def test_lfw_pairs_show_the_people_they_name(self):
    faces = published_sets.lfw_set(_lfw(self.folder), self.folder)
    pairs = faces.pairs
    self.assertEqual(pairs.fold.tolist(), [0] * 4 + [1] * 4)
    same = faces.people[pairs.first] == faces.people[pairs.second]
    np.testing.assert_array_equal(same, pairs.same)
    # Photo 3 of Bob is the sixth that was written.
    third = faces.images[pairs.second[1:2]][0]
    np.testing.assert_array_equal(third, _face(1, 5))

  def test_a_gallery_takes_genuine_pairs_one_a_person(self):
    pairs = _lfw(self.folder)
    names = [
      tuple(row.image_id for row in pair)
      for pair in published_sets.genuine_photos(pairs, self.folder, people=4)
    ]
    self.assertEqual(
      names,
      [
        (f"{name}/{name}_0001.jpg", f"{name}/{name}_000{second}.jpg")
        for name, second in (("Ann", 2), ("Bob", 3), ("Cid", 2), ("Dan", 3))
      ],
    )
    with self.assertRaisesRegex(ValueError, "of 5 people .* got 4"):
      published_sets.genuine_photos(pairs, self.folder, people=5)

  def test_a_photo_that_was_not_aligned_is_named(self):
    pairs = _lfw(self.folder)
    pairs.write_text(pairs.read_text().replace("Dan\t1\t3", "Dan\t1\t9"))
    with self.assertRaisesRegex(
      ValueError, "1 of them are not there, .*'Dan/Dan_0009'"
    ):
      published_sets.lfw_set(pairs, self.folder)

  def test_folds_that_do_not_add_up_are_refused(self):
    pairs = _lfw(self.folder)
    pairs.write_text("".join(pairs.read_text().splitlines(True)[:-1]))
    with self.assertRaisesRegex(ValueError, r"2 folds of 2 \+ 2 pairs.* got 7"):
      published_sets.lfw_set(pairs, self.folder)

  def test_ytf_pools_the_frames_of_each_video(self):
    _aligned(
      self.folder,
      [
        f"{n}/{v}/{v}.{f}.jpg"
        for n in _PEOPLE
        for v in (0, 1)
        for f in range(3)
      ],
    )
    path = self.folder / "splits.txt"
    path.write_text(
      "split, first, second, same\n1, Ann/0, Ann/1, 1\n1, Ann/0, Bob/0, 0\n"
      "2, Cid/0, Cid/1, 1\n2, Cid/0, Dan/0, 0\n"
    )
    faces = published_sets.ytf_set(path, self.folder, frames=2)
    self.assertLen(faces.images, 12)
    self.assertEqual([len(frames) for frames in faces.frames], [2] * 6)
    codes = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    np.testing.assert_allclose(
      faces.pool(codes), unit.reshape(6, 2, 4).mean(1), rtol=1e-5
    )

  def test_of_a_video_without_a_face_all_frames_stand_for_it(self):
    frames = [f"{n}/0/0.{f}.png" for n in _PEOPLE for f in range(3)]
    _aligned(self.folder, frames)
    manifest = manifest_path(self.folder, 0, 1)
    rows = [
      row.rejected("no face")
      if row.image_id.startswith("Bob") or row.image_id == "Ann/0/0.1.png"
      else row
      for row in read_shard_rows(manifest)
    ]
    for row in rows:
      row.image_path.parent.mkdir(parents=True, exist_ok=True)
      row.image_path.write_bytes(picture_png(_face(0, 0)))
    write_manifest(manifest, rows)
    path = self.folder / "splits.txt"
    path.write_text(
      "split, first, second, same\n1, Ann/0, Bob/0, 0\n1, Cid/0, Dan/0, 0\n"
    )
    faces = published_sets.ytf_set(path, self.folder)
    self.assertEqual(faces.missing.tolist(), [False, True, False, False])
    self.assertEqual([len(some) for some in faces.frames], [2, 3, 3, 3])
    self.assertEqual(faces.images[faces.frames[1]].shape, (3, 112, 96, 3))
    with self.assertRaisesRegex(ValueError, "1 have none, the first 'Bob/0'"):
      published_sets.ytf_set(path, self.folder, missing="fail")

  def test_a_bin_file_is_cut_to_the_crop_and_dealt_to_ten_folds(self):
    images, same = [], []
    for pair in range(20):
      one = np.zeros((112, 112, 3), np.uint8)
      one[:, 8:104] = _face(pair, 0)
      images += [picture_png(one), picture_png(one)]
      same.append(pair % 2 == 0)
    path = self.folder / "some.bin"
    path.write_bytes(pickle.dumps((images, same), protocol=2))
    faces = bin_set(path)
    np.testing.assert_array_equal(faces.images[7], _face(3, 0))
    self.assertEqual(np.bincount(faces.pairs.fold).tolist(), [2] * 10)
    path.write_bytes(pickle.dumps((images[:-2], same[:-1]), protocol=2))
    with self.assertRaisesRegex(ValueError, "some.bin: .*10 divides.* got 19"):
      bin_set(path)
    path.write_bytes(pickle.dumps((images, [1] * 11 + [0] * 9), protocol=2))
    with self.assertRaisesRegex(ValueError, "some.bin: .* got 11 and 9"):
      bin_set(path)

  def test_an_empty_image_of_a_bin_file_is_a_missing_face(self):
    images = [picture_png(_face(place // 2, 0)) for place in range(80)]
    same = [pair % 2 == 0 for pair in range(40)]
    path = self.folder / "some.bin"
    path.write_bytes(pickle.dumps((images, same)))
    self.assertFalse(bin_set(path).missing.any())
    images[5] = b""
    path.write_bytes(pickle.dumps((images, same)))
    for missing in ("crop", "score"):
      faces = bin_set(path, missing=missing)
      self.assertEqual(np.flatnonzero(faces.refused).tolist(), [5])
      scores = measure_faces(faces, {}).rows["raw pixels"].scores
      self.assertEqual(np.flatnonzero(scores == -1).tolist(), [2])
    with self.assertRaisesRegex(ValueError, "1 have none, the first 'image 5'"):
      bin_set(path, missing="fail")

  def test_a_damaged_image_of_a_bin_file_is_told_and_has_the_lowest_score(self):
    images = [picture_png(_face(place // 2, 0)) for place in range(80)]
    same = [pair % 2 == 0 for pair in range(40)]
    images[7] = images[7][:60]
    path = self.folder / "some.bin"
    path.write_bytes(pickle.dumps((images, same)))
    with self.assertLogs(level="WARNING") as logs:
      faces = bin_set(path)
    self.assertRegex(logs.output[0], "some.bin: image 7: cannot be read")
    self.assertEqual(np.flatnonzero(faces.refused).tolist(), [7])
    with self.assertRaisesRegex(ValueError, "1 have none, the first 'image 7'"):
      bin_set(path, missing="fail")
    path.write_bytes(pickle.dumps(([b"text"] * 80, same)))
    with self.assertRaisesRegex(ValueError, "none of 80 can be read"):
      bin_set(path)

  def test_a_bin_file_sorted_by_kind_has_both_kinds_in_every_fold(self):
    picture = picture_png(_face(0, 0))
    path = self.folder / "sorted.bin"
    for same in ([1] * 23 + [0] * 17, [0] * 12 + [1] * 28):
      path.write_bytes(pickle.dumps(([picture] * 80, same)))
      pairs = bin_set(path).pairs
      self.assertEqual(pairs.same.tolist(), [kind == 1 for kind in same])
      self.assertEqual(np.bincount(pairs.fold).tolist(), [4] * 10)
      for kind in (True, False):
        own = pairs.fold[pairs.same == kind]
        self.assertEqual(sorted(own), own.tolist())
        self.assertEqual(set(own.tolist()), set(range(10)))
      verify(np.arange(40.0), pairs.same, folds=pairs.fold)


class MeasureFacesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = pathlib.Path(self.create_tempdir().full_path)
    self.faces = published_sets.lfw_set(_lfw(folder), folder)
    self.network = _network()

  def test_rows_are_what_the_codes_say_and_pixels_find_the_patterns(self):
    results = measure_faces(self.faces, {"it": self.network})
    codes = encode_crops(self.network, self.faces.images)
    np.testing.assert_allclose(
      results.rows["identity code, it"].scores,
      pair_scores(codes.identity, self.faces.pairs),
    )
    self.assertEqual(results.rows["raw pixels"].result.auc.mean, 100)
    self.assertEqual(results.galleries["raw pixels"].rank_1, 100)
    cells = face_rows(results)[LFW]["raw pixels, LFW view 2"]
    # Two impostor pairs a fold: no TAR at such FARs.
    self.assertEqual(cells[2], (100.0, 0.0))
    self.assertEqual(cells[3:], [None, None])
    self.assertNotEmpty(face_sections(results)[0].blocks)

  def test_a_page_has_every_rival_and_the_papers_rows(self):
    learnt = np.stack([_face(9, seed) for seed in range(6)])
    fitted = np.random.default_rng(0).normal(size=(len(self.faces.images), 5))
    faces = dataclasses.replace(
      self.faces, training_images=learnt, fitted=fitted
    )
    scores = {"texture": faces.pairs.same.astype(np.float64)}
    results = measure_faces(faces, {"it": self.network}, other_scores=scores)
    (section,) = face_sections(results)
    first, *others = (b for b in section.blocks if isinstance(b, Table))
    names = [row[0] for row in first.rows]
    self.assertContainsSubset(
      {
        *("Proposed, shape (printed)", "3DMM-CNN, shape (printed)"),
        *("identity code, it", "identity code, it, with mirrored photo"),
        *("residual code, it", "eigenfaces", "raw pixels"),
        "3DMM coefficients, single-image fit",
      },
      names,
    )
    self.assertIn(
      "94.43 ± 1.47", first.rows[names.index("Proposed, shape (printed)")]
    )
    self.assertTrue(any("fusion" in table.caption for table in others))
    self.assertTrue(any(isinstance(b, Grid) for b in section.blocks))

  def test_mirrored_codes_are_those_of_mirrored_photos(self):
    images = self.faces.images[np.arange(3)]
    mirrored = encode_crops(self.network, images, mirrored=True)
    expected = encode_crops(self.network, images[:, :, ::-1])
    np.testing.assert_allclose(mirrored.identity, expected.identity, rtol=1e-5)

  def test_networks_of_one_trunk_share_what_it_sees(self):
    images = self.faces.images
    encoder = self.network.params["encoder"]
    other = self.network.replace(
      params={
        **self.network.params,
        "encoder": {**encoder, "identity_fc": encoder["residual_fc"]},
      },
      model=dataclasses.replace(self.network.model, identity_dim=5),
    )
    codes = encode_crops(other, images)
    self.assertIs(
      encode_trunk(self.network, images), encode_trunk(other, images)
    )
    crops = images[np.arange(len(images))]
    expected = encode(other.params, crops, model=other.model)
    np.testing.assert_allclose(codes.identity, expected.identity, atol=1e-5)
    np.testing.assert_allclose(codes.identity, codes.residual, atol=1e-6)

  def test_codes_of_the_map_and_the_feature_without_it(self):
    images = self.faces.images
    model = dataclasses.replace(self.network.model, residual_from_map=True)
    params = widen_to_map(self.network.params, self.network.model, model)
    layer = params["encoder"]["residual_fc"]
    seeing = {**layer, "kernel": random_leaves(layer["kernel"])}
    params["encoder"]["residual_fc"] = seeing
    other = self.network.replace(params=params, model=model)
    codes = encode_crops(other, images)
    crops = images[np.arange(len(images))]
    expected = encode(params, crops, model=model)
    np.testing.assert_allclose(codes.residual, expected.residual, atol=1e-5)
    self.assertIs(
      encode_trunk(other, images), encode_trunk(self.network, images)
    )

  def test_other_scores_are_fused_or_refused(self):
    perfect = self.faces.pairs.same.astype(np.float64)
    results = measure_faces(
      self.faces,
      {"it": self.network, "again": self.network},
      other_scores={"best": perfect},
    )
    self.assertLen(results.fusion, 7)
    name = self.faces.name
    cells = face_rows(results)[FUSION]
    self.assertEqual(cells[f"best, {name}"], (100.0,))
    for normalisation in ("z_score", "min_max"):
      self.assertEqual(
        *(
          cells[f"identity code, {one} + best, {normalisation}, {name}"]
          for one in ("it", "again")
        )
      )
    self.assertEqual(results.fusion["best"].accuracy.mean, 100)
    with self.assertRaisesRegex(ValueError, "best: expected 8 scores"):
      measure_faces(
        self.faces, {"it": self.network}, other_scores={"best": perfect[1:]}
      )


class TexturesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = pathlib.Path(self.create_tempdir().full_path)
    self.faces = published_sets.lfw_set(_lfw(folder), folder)
    self.network = _network()
    save_network(
      folder / "net",
      self.network.model,
      self.network.params,
      random_morphable_model(),
      phase="test",
    )
    self.textures = textures_of(
      {"it": load_network(folder / "net")}, with_dlib=False
    )

  def test_a_trunks_feature_is_what_its_two_layers_see(self):
    (describe,) = self.textures.values()
    encoder = self.network.params["encoder"]
    for mirrored in (False, True):
      feature = describe(self.faces.images, mirrored=mirrored)
      codes = encode_crops(self.network, self.faces.images, mirrored=mirrored)
      for code, layer in (
        (codes.identity, encoder["identity_fc"]),
        (codes.residual, encoder["residual_fc"]),
      ):
        made = np.tanh(feature @ layer["kernel"] + layer["bias"])
        np.testing.assert_allclose(made, code, atol=1e-5)

  def test_it_is_compared_and_fused_with(self):
    results = measure_faces(
      self.faces, {"net": self.network}, described=self.textures
    )
    name = f"{TRUNK}, it"
    (describe,) = self.textures.values()
    plain = describe(self.faces.images)
    np.testing.assert_allclose(
      results.rows[name].scores, pair_scores(plain, self.faces.pairs)
    )
    both = results.rows[f"{name}, with mirrored photo"].scores
    self.assertGreater(np.abs(both - results.rows[name].scores).max(), 1e-4)
    self.assertIn(f"identity code, net + {name}, z_score", results.fusion)
    self.assertIn(f"{name}, {self.faces.name}", face_rows(results)[LFW])

  def test_no_network_is_needed(self):
    results = measure_faces(self.faces, {}, described=self.textures)
    self.assertEmpty(results.fusion)
    self.assertNotEmpty(face_sections(results)[0].blocks)


class BaselinesTest(absltest.TestCase):
  def test_eigenfaces_keep_the_distances_of_what_they_learnt_from(self):
    images = np.stack([_face(person, 0) for person in range(6)])
    found = eigenfaces(images, images)
    rows = images.mean(-1).reshape(6, -1)
    rows -= rows.mean(1, keepdims=True)
    for one in range(6):
      np.testing.assert_allclose(
        np.linalg.norm(found[0] - found[one]),
        np.linalg.norm(rows[0] - rows[one]),
        rtol=1e-6,
      )

  def test_nobody_is_found_in_a_gallery_by_constant_codes(self):
    people = np.repeat(np.arange(10), 3)
    found = identify_in_gallery(np.ones((30, 4), np.float32), people, seed=0)
    self.assertEqual((found.rank_1, found.known, found.unknown), (0, 14, 9))
    codes = np.eye(10, dtype=np.float32)[people]
    self.assertEqual(identify_in_gallery(codes, people, seed=0).rank_1, 100)


class ScoresFileTest(absltest.TestCase):
  def test_scores_come_back_and_what_is_wrong_is_one_line(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / "good.txt").write_text("0.5\n-1\n")
    (folder / "nan.txt").write_text("0.5\nnan\n")
    (folder / "text.txt").write_text("a\n")
    np.save(folder / "good.npy", np.array([1.0, 2]))
    read = read_scores
    scores = read([f"a={folder / 'good.txt'}", f"b={folder / 'good.npy'}"])
    self.assertEqual(scores["a"].tolist(), [0.5, -1])
    self.assertEqual(scores["b"].tolist(), [1, 2])
    for value, message in (
      ("=good.txt", "NAME=PATH"),
      ("good.txt", "good.txt: no such file"),
      (f"a={folder / 'none.txt'}", "no such file"),
      (f"a={folder / 'nan.txt'}", "nan.txt: .*finite.* nan at 1"),
      (f"a={folder / 'text.txt'}", "text.txt: expected numbers"),
    ):
      with self.assertRaisesRegex((ValueError, OSError), message):
        read([value])


if __name__ == "__main__":
  absltest.main()
