"""What glTF 2.0 wants said of a face, and its linear colours."""

from typing import Any

from jaxtyping import Float, UInt8
import numpy as np

# Colours are called so on their way through trimesh, which has words for
# colours of bytes only.
COLOR = "_LINEAR_COLOR"
# glTF's numbers for what a view of the buffer holds.
_VERTICES, _INDICES = 34962, 34963
_GREY = [0.57, 0.57, 0.57, 1]


def finish_gltf(tree: dict[str, Any]) -> None:
  """Says what trimesh leaves out: colours, material, what the views hold.

  Without a material viewers show the bare metal that is glTF's default.

  Args:
    tree: The JSON of a file with one mesh; changed in place.
  """
  (primitive,) = tree["meshes"][0]["primitives"]
  attributes = primitive["attributes"]
  tree["materials"] = [
    {
      "name": "skin",
      "doubleSided": False,
      "pbrMetallicRoughness": {
        "baseColorFactor": [1, 1, 1, 1] if COLOR in attributes else _GREY,
        "metallicFactor": 0,
        "roughnessFactor": 0.9,
      },
    }
  ]
  primitive["material"] = 0
  if COLOR in attributes:
    attributes["COLOR_0"] = attributes.pop(COLOR)
  for accessor in attributes.values():
    view = tree["accessors"][accessor]["bufferView"]
    tree["bufferViews"][view]["target"] = _VERTICES
  view = tree["accessors"][primitive["indices"]]["bufferView"]
  tree["bufferViews"][view]["target"] = _INDICES


def linear_from_srgb(
  colors: UInt8[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
  """The light that sRGB bytes stand for, 0 to 1 (IEC 61966-2-1)."""
  coded = colors / 255
  return np.where(
    coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4
  )
