import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
import scipy.io

from data_prep.evaluation_sets.pair_lists import find_videos
from data_prep.evaluation_sets.ytf import read_meta_and_splits, read_splits

SPLITS = (
  "split number, first name, second name, is the same?\n"
  "1, Ann/3, Bob/0, 0\n1, Ann/3, Ann/1, 1\n"
  "2, Dee/0, Dee/2, 1\n2, Cy/1, Dee/0, 0\n"
)
VIDEOS = ["Ann/1", "Ann/3", "Bob/0", "Cy/1", "Dee/0", "Dee/2"]
# The same pairs: [video, video (from 1), same] in each split.
META = np.array([[[2, 3, 0], [2, 1, 1]], [[5, 6, 1], [4, 5, 0]]], np.float64)


class _Case(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)


class SplitsTest(_Case):
  def _write(self, kind: str) -> pathlib.Path:
    path = self.folder / kind
    if kind == "splits.txt":
      path.write_text(SPLITS)
    else:
      scipy.io.savemat(
        path,
        {
          "video_names": np.array(VIDEOS, object)[:, None],
          "video_labels": np.ones((1, len(VIDEOS))),
          "mat_names": np.array(["a.mat"] * len(VIDEOS), object)[:, None],
          "Splits": np.moveaxis(META, 0, -1),
        },
        do_compression=True,
      )
    return path

  @parameterized.named_parameters(
    ("text", "splits.txt", read_splits),
    ("matlab", "meta_and_splits.mat", read_meta_and_splits),
  )
  def test_genuine_pairs_come_first_in_each_split(self, kind, read):
    found = read(self._write(kind))
    names = np.array(found.names)
    self.assertEqual(
      list(
        zip(
          names[found.pairs.first].tolist(),
          names[found.pairs.second].tolist(),
          found.pairs.same.tolist(),
          found.pairs.fold.tolist(),
          strict=True,
        )
      ),
      [
        ("Ann/3", "Ann/1", True, 0),
        ("Ann/3", "Bob/0", False, 0),
        ("Dee/0", "Dee/2", True, 1),
        ("Cy/1", "Dee/0", False, 1),
      ],
    )

  def test_frames_are_found_by_their_video(self):
    frames = ["Ann/3/3.7.jpg", "Bob/0/0.1.jpg", "Ann/3/3.10.jpg"]
    self.assertEqual(
      find_videos(["Bob/0", "Ann/3"], frames, where="YTF"), [[1], [0, 2]]
    )
    with self.assertRaisesRegex(
      ValueError, "YTF: .* 1 of them are not there, the first 'Ann/1'"
    ):
      find_videos(["Bob/0", "Ann/1"], frames, where="YTF")

  @parameterized.named_parameters(
    ("fields", "1, Ann/3, Bob/0\n", "line 1: expected split, video, video"),
    (
      "same",
      "1, Ann/3, Bob/0, 2\n",
      "line 1: expected a split from 1 and 0 or",
    ),
    ("split", "0, Ann/3, Bob/0, 1\n", "line 1: expected a split from 1"),
    ("missing", "2, Ann/3, Bob/0, 1\n", "equally many pairs in each split"),
    ("far", "999999999, Ann/3, Bob/0, 1\n", "equally many pairs in each split"),
    ("uneven", SPLITS[: SPLITS.rindex("2, Cy")], "got {1: 2, 2: 1}"),
    ("empty", "", "equally many pairs"),
    ("name", "1, Ann3, Bob/0, 1\n", "split 1: expected videos as name/number"),
  )
  def test_a_malformed_list_is_named(self, content, problem):
    path = self.folder / "splits.txt"
    path.write_text(content)
    with self.assertRaisesRegex(ValueError, f"splits.txt.*{problem}"):
      read_splits(path)

  @parameterized.named_parameters(
    ("video_0", [[0, 1, 1]], "Splits.1, :, 1.: expected videos from 1 to 6"),
    ("video_7", [[1, 7, 1]], "expected videos from 1 to 6, got 7"),
    ("half", [[1.5, 1, 1]], "expected videos from 1 to 6, got 1.5"),
    ("nan", [[1, 2, np.nan]], "expected a split from 1 and 0 or 1"),
    ("columns", [[1, 2]], "Splits: expected numbers .pairs, 3, folds"),
  )
  def test_meta_data_that_does_not_fit_is_named(self, splits, problem):
    path = self.folder / "meta_and_splits.mat"
    names = np.array(VIDEOS, object)
    scipy.io.savemat(path, {"video_names": names, "Splits": np.array(splits)})
    with self.assertRaisesRegex(ValueError, f"splits.mat: .*{problem}"):
      read_meta_and_splits(path)

  def test_missing_variables_are_named(self):
    path = self.folder / "meta_and_splits.mat"
    scipy.io.savemat(path, {"Splits": META})
    with self.assertRaisesRegex(ValueError, "splits.mat: .*video_names"):
      read_meta_and_splits(path)


if __name__ == "__main__":
  absltest.main()
