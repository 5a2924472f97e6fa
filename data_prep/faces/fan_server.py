"""FAN (face-alignment), run by another Python than the rest: see fan_landmarks.

Needs numpy and face_alignment only, nothing of this project. Reads requests
from stdin until it ends: a line of JSON with height, width and box (or null),
then the RGB bytes of the photo; answers each with a line of JSON on stdout: the
landmarks and the box, or the reason why there are none. The first line it
writes tells the package's version, and that FAN is loaded.
"""

import importlib.metadata
import json
import sys

import face_alignment
import numpy as np


def main() -> None:
  """Serves until stdin ends."""
  # What the package prints (downloads, warnings) must not mix with answers.
  answers, sys.stdout = sys.stdout, sys.stderr
  kinds = face_alignment.LandmarksType
  two_d = getattr(kinds, "TWO_D", None) or kinds._2D
  device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
  network = face_alignment.FaceAlignment(two_d, device=device)
  version = importlib.metadata.version("face_alignment")
  answers.write(json.dumps({"version": version}) + "\n")
  answers.flush()
  for line in sys.stdin.buffer:
    request = json.loads(line)
    height, width = request["height"], request["width"]
    content = sys.stdin.buffer.read(3 * height * width)
    photo = np.frombuffer(content, np.uint8).reshape(height, width, 3)
    answers.write(json.dumps(_answer(network, photo, request["box"])) + "\n")
    answers.flush()


def _answer(network, photo, box):
  boxes = [box] if box else _boxes(network, photo)
  if not boxes:
    return {"reason": "no face found"}
  middle = np.array([photo.shape[1], photo.shape[0]]) / 2

  def distance(box):
    return np.sum((np.reshape(box[:4], (2, 2)).mean(0) - middle) ** 2)

  box = [float(number) for number in min(boxes, key=distance)[:4]]
  faces = network.get_landmarks_from_image(photo, detected_faces=[box])
  if not faces:
    return {"reason": "no face found"}
  return {"landmarks": np.asarray(faces[0], float).tolist(), "box": box}


def _boxes(network, photo):
  return list(network.face_detector.detect_from_image(photo.copy()))


if __name__ == "__main__":
  main()
