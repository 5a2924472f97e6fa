"""Structs, shape letters, the paper's constants, and the static argument check.

Shape letters, used in every docstring and annotation: B batch, S subjects,
N images of one subject, L landmarks, V vertices, F triangles, I identity
size, E expression or residual size, K identity classes, H height, W width;
V3 is the length of a flat shape, three times V.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

_T = TypeVar("_T")

# Sizes of the paper (3.3.1, Fig. 3 and Fig. 4) and of its training set (3.3.2).
IMAGE_HEIGHT = 112
IMAGE_WIDTH = 96
NUM_VERTICES = 29_495
IDENTITY_DIM = 199
RESIDUAL_DIM = 29
NUM_LANDMARKS = 68
# The first of them, iBUG 0 to 16, run along the jaw.
NUM_CONTOUR = 17
# The landmark that takes each landmark's place in a mirrored face.
LANDMARK_MIRROR = np.array(
  [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
  ],
  np.int32,
)
CASIA_NUM_CLASSES = 10_575
CASIA_NUM_IMAGES = 488_848

# Latents are 3DMM coefficients / 3, so that +-3 standard deviations fill
# the [-1, 1] the paper asks of "each dimension in the latent representations".
LATENT_SCALE = 3.0

# SphereFace's alignment template for a 112x96 crop: left eye, right eye (as
# seen), nose tip, mouth corners; pixels (x, y), used as 0-based coordinates.
CROP_TEMPLATE = np.array(
  [
    [30.2946, 51.6963],
    [65.5318, 51.5014],
    [48.0252, 71.7366],
    [33.5493, 92.3655],
    [62.7299, 92.2041],
  ],
  np.float32,
)

# The iBUG-68 index of the nose tip (0-based), the centre of the 95 mm crop.
NOSE_TIP = 30


class UserError(ValueError):
  """What is wrong with something the user gave: a file, a flag, a setting.

  The message is for the user and complete: what, where, what was expected and
  what came, in one line. Binaries print it and end with status 1; any other
  error is a defect, of this project or of the user's own code, and keeps its
  traceback.
  """

  def __str__(self) -> str:
    """The message; names out of damaged files cannot break its line."""
    return " ".join(super().__str__().splitlines())


class UserFileNotFoundError(UserError, FileNotFoundError):
  """A file or folder that the user named is not there."""


class UserModuleNotFoundError(UserError, ModuleNotFoundError):
  """A package that the user's request needs is not installed."""


@flax.struct.dataclass
class Latents:
  """What the encoder says about a batch of images (Eq. 4).

  Attributes:
    identity: Identity codes c_id, `[B, I]`, each entry in [-1, 1].
    residual: Residual codes c_res, `[B, E]`, each entry in [-1, 1].
  """

  identity: Float[Array, "*B I"]
  residual: Float[Array, "*B E"]


@flax.struct.dataclass
class Reconstruction:
  """3D faces decoded from latents (Eq. 2), in millimetres.

  Attributes:
    shape: Mean + identity + residual component, `[B, V, 3]`.
    identity_shape: Mean + identity component, `[B, V, 3]`.
    latents: The codes the shapes were decoded from.
  """

  shape: Float[Array, "*B V 3"]
  identity_shape: Float[Array, "*B V 3"]
  latents: Latents


def check_array(
  name: str,
  array: Any,
  shape: str,
  *,
  dtype: str = "floating",
  sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
  """Checks the static shape and dtype of one argument; safe under tracing.

  Args:
    name: The argument's name, as the caller wrote it.
    array: Anything with a shape and a dtype.
    shape: Dimensions apart by blanks, e.g. `"S N 68 2"`: a number must match,
      a letter binds; a leading `"..."` stands for any batch dimensions.
    dtype: `floating`, `integer`, `uint8 or floating`, or `any` (numbers and
      booleans).
    sizes: Letters bound by arguments checked before this one.

  Returns:
    `sizes` and the letters bound here.

  Raises:
    ValueError: The shape differs; names the argument, both shapes.
    TypeError: The dtype differs, or `array` is not an array.
  """
  if not hasattr(array, "shape") or not hasattr(array, "dtype"):
    raise TypeError(
      f"{name}: expected an array [{shape.replace(' ', ', ')}],"
      f" got {type(array).__name__}"
    )
  bound = dict(sizes or {})
  wanted, got = shape.split(), tuple(array.shape)
  any_batch = bool(wanted) and wanted[0] == "..."
  tail = wanted[1:] if any_batch else wanted
  shown = ", ".join(
    f"{w}={bound[w]}" if w in bound and not w.isdigit() else w for w in wanted
  )
  fits = len(got) >= len(tail) if any_batch else len(got) == len(tail)
  if fits and tail:
    for letter, size in zip(tail, got[len(got) - len(tail) :], strict=True):
      expected = int(letter) if letter.isdigit() else bound.get(letter, size)
      fits = fits and size == expected
      bound[letter] = size
  if not fits:
    raise ValueError(f"{name}: expected shape [{shown}], got {list(got)}")
  if not _dtype_fits(jnp.dtype(array.dtype), dtype):
    raise TypeError(f"{name}: expected a {dtype} dtype, got {array.dtype}")
  return {k: v for k, v in bound.items() if not k.isdigit()}


def _dtype_fits(dtype: Any, wanted: str) -> bool:
  match wanted:
    case "floating":
      return jnp.issubdtype(dtype, jnp.floating)
    case "integer":
      return jnp.issubdtype(dtype, jnp.integer)
    case "uint8 or floating":
      return dtype == jnp.uint8 or jnp.issubdtype(dtype, jnp.floating)
    case "any":
      return dtype == jnp.bool_ or jnp.issubdtype(dtype, jnp.number)
    case _:
      raise ValueError(f"dtype: no such kind: {wanted}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
  """Raises UserError unless a setting is one of its choices; lists them."""
  if value not in choices:
    raise UserError(
      f"{name}: expected one of {', '.join(choices)}, got {value!r}"
    )


def choose(name: str, value: str | _T, choices: Mapping[str, _T]) -> _T:
  """The choice of a name; what is no name comes back as it is.

  Args:
    name: The argument's name, as the caller wrote it.
    value: A key of `choices`, or a value like theirs.
    choices: Names and what they stand for.

  Returns:
    One value.

  Raises:
    UserError: There is no choice of that name; lists those there are.
  """
  if not isinstance(value, str):
    return value
  check_choice(name, value, choices)
  return choices[value]


def check_key(name: str, key: Any) -> None:
  """Raises TypeError unless `key` is one typed key from `jax.random.key`."""
  if not hasattr(key, "dtype") or not jnp.issubdtype(
    key.dtype, jax.dtypes.prng_key
  ):
    got = getattr(key, "dtype", type(key).__name__)
    raise TypeError(f"{name}: expected a key from jax.random.key, got {got}")
