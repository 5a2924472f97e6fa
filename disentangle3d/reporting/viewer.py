"""One self-contained page to turn faces by mouse: no network, one file.

Photo, full shape, identity shape and a heat map of the residual side by side,
and sliders that exaggerate identity and residual. Three.js is in `three/`, as
its npm package has it; `three/update.sh` takes another version.
"""

import base64
from collections.abc import Sequence
import dataclasses
import html
import io
import json
import pathlib
from typing import Any

from jaxtyping import Float, Int, UInt8
import numpy as np
from PIL import Image

from disentangle3d.types import check_array

# Shapes are kept as whole numbers of these.
_STEP_MM = 0.01
_HERE = pathlib.Path(__file__).parent
_LIBRARY = ("three/three.min.js", "three/TrackballControls.js")
_PHOTO_PX = 480


@dataclasses.dataclass(frozen=True, eq=False)
class ViewerFace:
  """One face of the page.

  Attributes:
    title: Its name in the list.
    photo: RGB, any size.
    shape: `[V, 3]`, mm.
    identity_shape: `[V, 3]`, mm.
    skin: The picture that it is covered with, a JPEG, or None.
  """

  title: str
  photo: UInt8[np.ndarray, "H W 3"]
  shape: Float[np.ndarray, "V 3"]
  identity_shape: Float[np.ndarray, "V 3"]
  skin: bytes | None = None


def viewer_page(
  faces: Sequence[ViewerFace],
  mean_shape: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  *,
  places: Float[np.ndarray, "V 2"],
  title: str = "Faces",
) -> str:
  """The page.

  Args:
    faces: At least one.
    mean_shape: What the sliders exaggerate from, `[V, 3]`, mm.
    triangles: `[F, 3]`.
    places: Where vertices are in skins, from 0 to 1 to the right and down,
      `[V, 2]`.
    title: Of the page.

  Returns:
    HTML that needs no other file.

  Raises:
    ValueError: There is no face, or a shape differs.
    TypeError: A dtype differs.
  """
  if not faces:
    raise ValueError("faces: expected at least one, got none")
  sizes = check_array("mean_shape", mean_shape, "V 3")
  check_array("triangles", triangles, "F 3", dtype="integer")
  check_array("places", places, "V 2", sizes=sizes)
  for number, face in enumerate(faces):
    check_array(f"faces[{number}].shape", face.shape, "V 3", sizes=sizes)
    check_array(
      f"faces[{number}].identity_shape", face.identity_shape, "V 3", sizes=sizes
    )
  shown = np.unique(triangles)
  residual = np.concatenate(
    [(face.shape - face.identity_shape)[shown] for face in faces]
  )
  heat_mm = max(float(np.percentile(np.linalg.norm(residual, axis=1), 99)), 0.1)
  low, high = mean_shape[shown].min(0), mean_shape[shown].max(0)
  data = {
    "step_mm": _STEP_MM,
    "heat_mm": heat_mm,
    "center": ((low + high) / 2).tolist(),
    "distance_mm": 3.9 * float(max(high - low)),
    "triangles": _base64(np.asarray(triangles, "<u4")),
    "places": _base64(np.asarray(places, "<f4")),
    "mean": _base64(_steps(mean_shape)),
    "faces": [_face(face, mean_shape) for face in faces],
  }
  # A "</script>" in a title would end the script.
  content = json.dumps(data).replace("<", "\\u003c")
  return _PAGE.format(
    title=html.escape(title),
    style=_STYLE,
    heat=f"{heat_mm:.1f}",
    library="\n".join(map(_text, _LIBRARY)),
    data=content,
    script=_text("viewer.js"),
  )


def _text(name: str) -> str:
  return (_HERE / name).read_text("utf-8")


def _face(face: ViewerFace, mean_shape: np.ndarray) -> dict[str, Any]:
  return {
    "title": face.title,
    "photo": _jpeg(face.photo),
    "identity": _base64(_steps(face.identity_shape - mean_shape)),
    "residual": _base64(_steps(face.shape - face.identity_shape)),
    "skin": None if face.skin is None else _jpeg_uri(face.skin),
  }


def _steps(lengths_mm: np.ndarray) -> np.ndarray:
  return np.clip(np.round(lengths_mm / _STEP_MM), -32768, 32767).astype("<i2")


def _base64(array: np.ndarray) -> str:
  return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _jpeg(photo: np.ndarray) -> str:
  picture = Image.fromarray(np.ascontiguousarray(photo))
  picture.thumbnail((_PHOTO_PX, _PHOTO_PX))
  buffer = io.BytesIO()
  picture.save(buffer, "JPEG", quality=90)
  return _jpeg_uri(buffer.getvalue())


def _jpeg_uri(content: bytes) -> str:
  encoded = base64.b64encode(content).decode("ascii")
  return f"data:image/jpeg;base64,{encoded}"


_STYLE = """
:root { --page: #fff; --ink: #1c2126; --soft: #59636e; --line: #d5dbe1; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181c; --ink: #e4e8ec; --soft: #9aa5b1; --line: #343c45; }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 1rem 1.25rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
    sans-serif;
}
h1 { font-size: 1.3rem; margin: 0 0 .6rem; }
.row { display: grid; grid-template-columns: 1fr 3fr; gap: .5rem; }
.titles { display: grid; grid-template-columns: repeat(4, 1fr);
  color: var(--soft); text-align: center; }
.view { height: min(62vh, 26vw); min-height: 240px; }
#photo { width: 100%; object-fit: contain; }
#canvas { width: 100%; display: block; cursor: grab; touch-action: none; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin-top: .8rem;
  align-items: center; }
label { display: flex; gap: .5rem; align-items: center; }
label[hidden] { display: none; }
input[type=range] { width: 12rem; }
output { min-width: 3rem; font-variant-numeric: tabular-nums; }
button, select { font: inherit; }
.scale { display: inline-block; width: 9rem; height: .8rem; border-radius: 3px;
  background: linear-gradient(90deg, #440154, #3b528b, #21918c, #5ec962,
    #fde725); }
#problem { border: 1px solid var(--line); padding: .6rem; }
.soft { color: var(--soft); }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="titles"><span>photo</span><span>full shape</span>
<span>identity shape</span><span>residual, mm</span></div>
<div class="row"><img id="photo" class="view" alt="the photo">
<canvas id="canvas" class="view"></canvas></div>
<p id="problem" hidden>The faces cannot be shown: this browser has no WebGL, or
it is switched off. Another browser or another machine may have it; the meshes
beside this page open in any 3D viewer.</p>
<div class="controls">
<label>face <select id="face"></select></label>
<label>identity <input id="identity" type="range" min="0" max="4" step="0.1"
 value="1"><output id="identity_value"></output></label>
<label>residual <input id="residual" type="range" min="0" max="4" step="0.1"
 value="1"><output id="residual_value"></output></label>
<label><input id="textured" type="checkbox" checked> colours of the
photo</label>
<button id="reset" type="button">reset</button>
<span>0 <span class="scale"></span> {heat} mm</span>
</div>
<p class="soft">Drag to turn, wheel to zoom, right button to move.</p>
<script>{library}</script>
<script>const FACES = {data};</script>
<script>{script}</script>
</body>
</html>
"""
