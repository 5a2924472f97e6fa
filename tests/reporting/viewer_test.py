"""The viewer's page: what is in it, and what a browser makes of it."""

import base64
import io
import json
import pathlib
import re
import shutil
import subprocess
import unittest

from absl.testing import absltest
import numpy as np
from PIL import Image
import pytest

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.unwrapping import unwrap
from disentangle3d.reporting import viewer
from disentangle3d.reporting.viewer import ViewerFace, viewer_page

_BROWSER = next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))),
  None,
)


def red_jpeg():
  buffer = io.BytesIO()
  Image.new("RGB", (64, 64), (200, 20, 20)).save(buffer, "JPEG", quality=95)
  return buffer.getvalue()


def face_and_model():
  model = procedural_face_model(
    num_vertices=600, identity_dim=4, expression_dim=4
  )
  mean = np.asarray(model.mean_shape)
  identity = mean + 2 * np.asarray(model.identity_basis)[..., 0]
  face = ViewerFace(
    title="a</script><b>",
    photo=np.full((600, 500, 3), (10, 200, 30), np.uint8),
    shape=identity + 2 * np.asarray(model.expression_basis)[..., 0],
    identity_shape=identity,
    skin=red_jpeg(),
  )
  return face, mean, np.asarray(model.triangles)


def data_of(page):
  return json.loads(re.search(r"const FACES = (.*);</script>", page)[1])


def steps(text):
  return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 3)


class ViewerPageTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.face, cls.mean, cls.triangles = face_and_model()
    cls.places = unwrap(cls.mean, cls.triangles)
    cls.page = viewer_page(
      [cls.face], cls.mean, cls.triangles, places=cls.places, title="a < b"
    )

  def test_shapes_come_back_within_a_hundredth_of_a_millimetre(self):
    data = data_of(self.page)
    (face,) = data["faces"]
    identity = 0.01 * (steps(data["mean"]) + steps(face["identity"]))
    np.testing.assert_allclose(identity, self.face.identity_shape, atol=0.011)
    full = identity + 0.01 * steps(face["residual"])
    np.testing.assert_allclose(full, self.face.shape, atol=0.016)
    triangles = np.frombuffer(base64.b64decode(data["triangles"]), "<u4")
    np.testing.assert_array_equal(triangles.reshape(-1, 3), self.triangles)

  def test_nothing_is_fetched_and_titles_are_text(self):
    self.assertIsNone(
      re.search(r'(src|href)="?https?:|@import|url\(http', self.page)
    )
    self.assertNotIn("a</script><b>", self.page)
    self.assertIn("<h1>a &lt; b</h1>", self.page)
    self.assertEqual(data_of(self.page)["faces"][0]["title"], self.face.title)

  def test_the_library_is_whole_and_the_version_it_says(self):
    folder = pathlib.Path(viewer.__file__).parent / "three"
    release = (folder / "VERSION").read_text().split(".")[1]
    self.assertRegex(self.page, rf'const \w="{release}"')
    self.assertIn("class TrackballControls", self.page)
    self.assertIn("three.js authors", (folder / "LICENSE").read_text())

  def test_other_shapes_are_refused(self):
    with self.assertRaisesRegex(ValueError, "faces: expected at least one"):
      viewer_page([], self.mean, self.triangles, places=self.places)
    with self.assertRaisesRegex(ValueError, r"faces\[0\].shape: .*V=599"):
      viewer_page(
        [self.face], self.mean[:599], self.triangles, places=self.places[:599]
      )

  @pytest.mark.slow
  @unittest.skipUnless(_BROWSER, "Chromium is not installed")
  def test_a_browser_draws_the_three_faces_and_the_sliders_move_them(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / "viewer.html").write_text(self.page, encoding="utf-8")
    plain = self.shot(folder, "#textured=0")
    titled = self.shot(folder, "#residual=4")
    height, width = plain.shape[:2]
    middle = height // 3
    # The photo is green; beside it a grey face, a grey face, a coloured face.
    self.assertGreater(plain[middle, width // 8, 1], 150)
    full, identity, heat = (
      plain[:, width // 4 * n : width // 4 * (n + 1)] for n in (1, 2, 3)
    )
    for panel in (full, identity):
      self.assertGreater(np.mean(panel < 235), 0.1)
      spread = panel.max(-1).astype(int) - panel.min(-1)
      self.assertLess(np.percentile(spread, 90), 12)
    spread = heat.max(-1).astype(int) - heat.min(-1)
    self.assertGreater(np.mean(spread > 40), 0.1)
    # Coloured by the photo (red), and the residual moves the full shape only.
    red = titled[..., 0].astype(int) - titled[..., 1] > 60
    self.assertGreater(red[:, width // 4 : width // 2].mean(), 0.1)
    # It has the photo's very colour (edges are mixed with the white page).
    skin = titled[:, width // 4 : width // 2]
    skin = skin[skin[..., 1] < 40]
    np.testing.assert_allclose(np.median(skin[..., 0]), 200, atol=4)
    before = np.any(full < 235, -1)
    after = red[:, width // 4 : width // 4 + before.shape[1]]
    self.assertGreater(np.mean(before[:middle] != after[:middle]), 0)

  @pytest.mark.slow
  @unittest.skipUnless(_BROWSER, "Chromium is not installed")
  def test_a_browser_without_webgl_says_so(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / "viewer.html").write_text(self.page, encoding="utf-8")
    told = subprocess.run(
      [
        *(_BROWSER, "--headless", "--no-sandbox", "--disable-gpu"),
        *("--disable-3d-apis", "--no-first-run", "--dump-dom"),
        *("--virtual-time-budget=4000", f"--user-data-dir={folder / 'user'}"),
        (folder / "viewer.html").as_uri(),
      ],
      capture_output=True,
      text=True,
      check=True,
      timeout=120,
    ).stdout
    self.assertIn('data-ready="no WebGL"', told)
    self.assertRegex(told, '<p id="problem">The faces cannot be shown')

  def shot(self, folder, wishes):
    picture = folder / "shot.png"
    picture.unlink(missing_ok=True)
    subprocess.run(
      [
        *(_BROWSER, "--headless", "--no-sandbox", "--use-angle=swiftshader"),
        *("--enable-unsafe-swiftshader", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        *("--hide-scrollbars", "--window-size=1200,560"),
        *("--virtual-time-budget=4000", f"--user-data-dir={folder / 'user'}"),
        f"--screenshot={picture}",
        f"file://{folder / 'viewer.html'}{wishes}",
      ],
      capture_output=True,
      timeout=120,
      check=True,
    )
    with Image.open(picture) as image:
      return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
  absltest.main()
