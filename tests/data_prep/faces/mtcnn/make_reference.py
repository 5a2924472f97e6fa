"""Writes reference.json: what the package `mtcnn` finds, under TensorFlow.

    python tests/data_prep/faces/mtcnn/make_reference.py <orl_faces> <output>

Needs an environment of its own with tensorflow-cpu, mtcnn 1.0.0 and
scikit-image; nothing of this repository. The photographs are scikit-image's
astronaut and two of each person of the ORL faces.

At factors other than its own the package's pyramid goes on to levels smaller
than a window, on which TensorFlow stops and it finds nothing; here those levels
are left out.
"""

import json
import pathlib
import sys

import mtcnn
import mtcnn.stages.stage_pnet
import numpy as np
from PIL import Image
import skimage
import tensorflow

SETTINGS = {
  "package": {"scale_factor": 0.709, "threshold_onet": 0.9},
  "paper": {"scale_factor": 0.85, "threshold_onet": 0.9},
}


_LEAST_LEVEL_PX = 11
_package_pyramid = mtcnn.stages.stage_pnet.build_scale_pyramid


def _pyramid(width, height, **options):
  scales = _package_pyramid(width, height, **options)
  return scales[(min(width, height) * scales).astype(int) >= _LEAST_LEVEL_PX]


def main() -> None:
  """Reads the photographs, writes boxes and points."""
  folder, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
  photos = {"astronaut": skimage.data.astronaut()}
  for person in range(1, 21):
    for number in (1, 6):
      name = f"s{person}/{number}.pgm"
      with Image.open(folder / name) as file:
        photos[name] = np.asarray(file.convert("RGB"))
  mtcnn.stages.stage_pnet.build_scale_pyramid = _pyramid
  detector = mtcnn.MTCNN()
  faces = {
    kind: {
      name: _faces(detector, photo, options) for name, photo in photos.items()
    }
    for kind, options in SETTINGS.items()
  }
  about = {
    "made_with": {
      "mtcnn": "1.0.0",
      "tensorflow": tensorflow.__version__,
      "numpy": np.__version__,
    },
    "settings": SETTINGS,
    "faces": faces,
  }
  output.write_text(json.dumps(about, indent=1) + "\n")


def _faces(detector, photo, options):
  """Each face's box (x0, y0, x1, y1), score, five x and five y."""
  rows = detector.detect_faces(
    photo, box_format="xyxy", output_type="numpy", **options
  )
  return [
    {
      "box": np.round(row[1:5], 3).tolist(),
      "score": float(row[5]),
      "points": np.round(row[6:16].reshape(2, 5).T, 3).tolist(),
    }
    for row in rows
  ]


if __name__ == "__main__":
  main()
