import base64
import html.parser
import io
import pathlib

from absl.testing import absltest, parameterized
from matplotlib.figure import Figure
import numpy as np
from PIL import Image

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.reporting import html_page as hp


class _Reader(html.parser.HTMLParser):
  """Collects texts and attributes, and checks that tags are balanced."""

  def __init__(self, content: str):
    super().__init__()
    self.open, self.texts, self.tags = [], [], []
    self.feed(content)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in ("meta", "img"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    if self.open.pop() != tag:
      raise ValueError(f"unbalanced {tag}")

  def handle_data(self, data):
    if data.strip() and self.open[-1] != "style":
      self.texts.append(data.strip())


def _picture(seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, (7, 5, 3), np.uint8)


def _page(*blocks) -> _Reader:
  return _Reader(hp.page("report", [hp.Section("one", blocks)]))


class PageTest(parameterized.TestCase):
  def test_texts_come_out_as_they_went_in(self):
    text = '<script>alert("1 & 2")</script>'
    reader = _Reader(
      hp.page(
        text,
        [
          hp.Section(
            text,
            [
              hp.Paragraph(text),
              hp.Preformatted(text),
              hp.Table([text], [[text]], caption=text),
              hp.Picture(_picture(), text),
              hp.Grid([hp.Picture(_picture())], text),
            ],
          ),
          hp.Section("two", []),
        ],
        subtitle=text,
      )
    )
    self.assertEmpty(reader.open)
    self.assertEqual(reader.texts.count(text), 12)
    alts = [a["alt"] for tag, a in reader.tags if tag == "img"]
    self.assertEqual(alts, [text, ""])
    self.assertNotIn("script", [tag for tag, _ in reader.tags])

  def test_pictures_are_embedded_exactly(self):
    image = _picture()
    reader = _page(hp.Picture(image, "a face"))
    (attributes,) = [a for tag, a in reader.tags if tag == "img"]
    head, content = attributes["src"].split(",", 1)
    self.assertEqual(head, "data:image/png;base64")
    self.assertEqual(attributes["alt"], "a face")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    np.testing.assert_array_equal(decoded, image)

  def test_photographs_are_stored_as_small_jpegs(self):
    x, y = np.meshgrid(np.arange(120), np.arange(90))
    image = np.stack([x, y, x + y], -1).astype(np.uint8)
    reader = _page(hp.Picture(image, "a face", is_photo=True))
    (attributes,) = [a for tag, a in reader.tags if tag == "img"]
    head, content = attributes["src"].split(",", 1)
    self.assertEqual(head, "data:image/jpeg;base64")
    with Image.open(io.BytesIO(base64.b64decode(content))) as file:
      self.assertEqual(file.format, "JPEG")
      apart = np.abs(np.asarray(file).astype(int) - image)
    self.assertLess(apart.mean(), 3)

  def test_the_page_asks_for_no_other_file(self):
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    content = hp.page(
      "report", [hp.Section("a", [hp.Picture(figure)]), hp.Section("b", [])]
    )
    for tag, attributes in _Reader(content).tags:
      self.assertNotIn(tag, ("link", "script", "iframe"))
      for name in ("src", "href"):
        if name in attributes:
          self.assertRegex(attributes[name], "^(data:image/png|#section-)")
    self.assertNotIn("url(", content)
    self.assertNotIn("http", content)

  def test_width_of_pictures(self):
    reader = _page(hp.Picture(_picture()), hp.Picture(_picture(), width_px=40))
    widths = [a["style"] for tag, a in reader.tags if tag == "figure"]
    self.assertEqual(widths, ["width: 5px", "width: 40px"])

  def test_pictures_of_a_row_share_its_width(self):
    """However wide they are: `auto` tracks and flex boxes would wrap."""
    wide = np.zeros((2, 900, 3), np.uint8)
    reader = _page(hp.Grid([hp.Picture(wide)] * 5, columns=5))
    (style,) = [
      a["style"] for _, a in reader.tags if a.get("class") == "columns"
    ]
    self.assertEqual(style, "--columns: 5")
    rules = hp.page("", []).partition(".columns {")[2].partition("}")[0]
    self.assertIn("display: grid", rules)
    self.assertIn("repeat(var(--columns), minmax(0, 1fr))", rules)

  def test_cells_of_a_table(self):
    reader = _page(
      hp.Table(
        ["what", "a", "b", "c", "d"],
        [["x", 1.234, 1_234_567, None, float("nan")], ["y", -0.5, 2, "z", 0.0]],
      )
    )
    self.assertEqual(
      reader.texts[-10:],
      ["x", "1.23", "1,234,567", "–", "–", "y", "−0.50", "2", "z", "0.00"],
    )
    self.assertIn("thead", [tag for tag, _ in reader.tags])
    bare = _page(hp.Table(["", ""], [["x", "y"]]))
    self.assertNotIn("thead", [tag for tag, _ in bare.tags])
    texts = [a.get("class") for tag, a in reader.tags if tag == "td"]
    self.assertEqual(texts, (["text"] + [None] * 4) * 2)

  @parameterized.parameters(
    (hp.mean_std(94.431, 1.466), "94.43 ± 1.47"),
    (hp.mean_std(94.431, float("nan"), digits=1), "94.4"),
    (hp.mean_std(float("nan"), float("nan")), "–"),
    (hp.interval(Interval(2.41, 2.3, 2.52, 0.95), digits=1), "2.4 [2.3, 2.5]"),
    (hp.interval(Interval(-0.2, -0.4, 0.1, 0.95)), "−0.20 [−0.40, 0.10]"),
    (hp.interval(None), "–"),
    (hp.format_number(np.float32(2.5)), "2.50"),
    (hp.format_number(np.int64(25)), "25"),
  )
  def test_numbers(self, got, expected):
    self.assertEqual(got, expected)

  def test_errors_name_the_place(self):
    with self.assertRaisesRegex(ValueError, "'rmse': .* 2 cells .* 1 in row 1"):
      _page(hp.Table(["a", "b"], [[1, 2], [1]], caption="rmse"))
    with self.assertRaisesRegex(TypeError, "blocks Paragraph, .* got str"):
      _page("text")
    with self.assertRaisesRegex(TypeError, "image: expected a uint8"):
      _page(hp.Picture(_picture().astype(np.float32)))
    with self.assertRaisesRegex(ValueError, "image: expected shape"):
      _page(hp.Picture(_picture()[0]))


class WritePageTest(absltest.TestCase):
  def test_page_is_written_whole_and_nothing_else(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    content = hp.page("±", [])
    hp.write_page(folder / "report.html", content)
    hp.write_page(folder / "report.html", content)
    self.assertEqual([p.name for p in folder.iterdir()], ["report.html"])
    self.assertEqual(
      (folder / "report.html").read_text(encoding="utf-8"), content
    )


if __name__ == "__main__":
  absltest.main()
