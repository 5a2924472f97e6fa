"""The identity heads beside softmax: cosines of class and code, with a margin.

All take the logit of class k to be scale cos(theta_k), theta_k the angle
between code and class weight, and ask more of the right class:

    softmax    c W + b: nothing normalised, no margin (the paper, 3.3.1)
    a_softmax  (lambda cos theta + psi(theta)) / (1 + lambda), where psi is
               cos(m theta) continued monotonously (SphereFace)
    cosface    cos theta - m
    arcface    cos(theta + m)
    adaface    cos(theta - m z) - m (1 + z), z how long the code is among codes

SphereFace multiplies by |c|; here |c| is bounded by sqrt(I), 14.1, so that
`scale` takes its place. Class weights are the columns of `kernel`, `[I, K]`.
"""

import dataclasses
import math
from typing import Literal, get_args

import flax.struct
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.network.identity_heads import identity_logits
from disentangle3d.types import UserError, check_array, check_choice

HeadKind = Literal["softmax", "a_softmax", "cosface", "arcface", "adaface"]
# Those of the papers; an angle's multiple, a cosine, an angle, both.
MARGINS = {"a_softmax": 4.0, "cosface": 0.35, "arcface": 0.5, "adaface": 0.4}
# cos(m theta) as a polynomial in cos theta, highest power first.
_MULTIPLE_ANGLE = {
  1: (1.0, 0.0),
  2: (2.0, 0.0, -1.0),
  3: (4.0, 0.0, -3.0, 0.0),
  4: (8.0, 0.0, -8.0, 0.0, 1.0),
}
_LARGEST_COSINE = 1 - 1e-6
_SMALLEST_SQUARE = 1e-12


@dataclasses.dataclass(frozen=True)
class HeadSetting:
  """Which identity head, and its numbers.

  Attributes:
    kind: See the module.
    scale: Factor of the cosines; softmax has none.
    margin: m; `MARGINS` has each paper's.
    lambda_first: A-Softmax: lambda at the first step.
    lambda_last: A-Softmax: lambda is never below it.
    lambda_decay: A-Softmax: lambda is lambda_first / (1 + lambda_decay step).
    steps_before: A-Softmax: steps of earlier phases, added to the phase's.
    concentration: AdaFace: h, how fast z reaches +-1, a share of the norms'
      standard deviation.
    momentum: AdaFace: the share of a batch in the running mean and deviation
      of the norms.
    sharded: Each of n devices holds K / n classes, instead of all of them.
    sampled_share: Of a sharded head's classes, how many each step compares
      with (PartialFC); those of the batch are always among them.
  """

  kind: HeadKind = "softmax"
  scale: float = 30.0
  margin: float = 0.0
  lambda_first: float = 1000.0
  lambda_last: float = 5.0
  lambda_decay: float = 0.12
  steps_before: int = 0
  concentration: float = 0.333
  momentum: float = 0.01
  sharded: bool = False
  sampled_share: float = 1.0

  def __post_init__(self):
    check_choice("identity_head.kind", self.kind, get_args(HeadKind))
    if self.kind == "a_softmax" and self.margin not in _MULTIPLE_ANGLE:
      raise UserError(
        "identity_head.margin: expected 1, 2, 3 or 4 for a_softmax, got"
        f" {self.margin}"
      )
    for name, least in (("margin", 0), ("lambda_last", 0), ("lambda_decay", 0)):
      if not getattr(self, name) >= least:
        raise UserError(
          f"identity_head.{name}: expected {least} or more, got"
          f" {getattr(self, name)}"
        )
    for name in ("scale", "lambda_first", "concentration", "momentum"):
      if not getattr(self, name) > 0:
        raise UserError(
          f"identity_head.{name}: expected above 0, got {getattr(self, name)}"
        )
    if not 0 < self.sampled_share <= 1:
      raise UserError(
        "identity_head.sampled_share: expected above 0, at most 1, got"
        f" {self.sampled_share}"
      )
    if self.sampled_share < 1 and not self.sharded:
      raise UserError(
        "identity_head.sampled_share: expected 1 for a head that is not"
        f" sharded, got {self.sampled_share}"
      )

  @property
  def has_bias(self) -> bool:
    """Whether the head has one beside its kernel."""
    return self.kind == "softmax"


@flax.struct.dataclass
class CodeNorms:
  """What AdaFace remembers of the codes' lengths, all scalars.

  Sums that decay; over `weight` they are means, also after a few steps.

  Attributes:
    mean: Of the batches' means.
    deviation: Of the batches' standard deviations.
    weight: Of ones; 0 before the first batch.
  """

  mean: Float[Array, "*D"]
  deviation: Float[Array, "*D"]
  weight: Float[Array, "*D"]


def initial_code_norms() -> CodeNorms:
  """Before the first batch: every code counts as of middling length."""
  zero = jnp.zeros((), jnp.float32)
  return CodeNorms(mean=zero, deviation=zero, weight=zero)


def update_code_norms(
  norms: CodeNorms,
  mean: Float[Array, ""],
  mean_square: Float[Array, ""],
  *,
  momentum: float,
) -> CodeNorms:
  """Takes in the norms of a whole batch, by its mean and mean square."""
  deviation = jnp.sqrt(jnp.maximum(mean_square - mean * mean, 0.0))

  def mix(old: Array, new: Array) -> Array:
    return (1 - momentum) * old + momentum * new

  return CodeNorms(
    mean=mix(norms.mean, mean),
    deviation=mix(norms.deviation, deviation),
    weight=mix(norms.weight, jnp.ones_like(norms.weight)),
  )


def annealed_lambda(
  setting: HeadSetting, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """A-Softmax's lambda for the update after `step` updates of the phase."""
  done = jnp.asarray(step + setting.steps_before, jnp.float32)
  falling = setting.lambda_first / (1 + setting.lambda_decay * done)
  return jnp.maximum(falling, setting.lambda_last)


def code_lengths(codes: Float[Array, "*B I"]) -> Float[Array, "*B"]:
  """|c|, with a gradient at 0 as well."""
  square = jnp.sum(jnp.square(codes), -1)
  return jnp.sqrt(jnp.maximum(square, _SMALLEST_SQUARE))


def class_logits(
  head: dict[str, Array],
  codes: Float[Array, "B I"],
  labels: Int[Array, "B"],
  *,
  setting: HeadSetting,
  step: Int[Array, ""] | int,
  norms: CodeNorms | None = None,
) -> Float[Array, "B K"]:
  """Logits with the margin at each example's own class.

  Args:
    head: `kernel` `[I, K]`; softmax has a `bias` `[K]` as well.
    codes: Identity codes, `[B, I]`.
    labels: Classes, `[B]`; one outside [0, K) has no class here (it is
      another shard's), and its row no margin.
    setting: The head.
    step: Updates of the phase so far, for A-Softmax's lambda.
    norms: For AdaFace; None is before the first batch.

  Returns:
    Logits, `[B, K]`.

  Raises:
    ValueError: The shapes disagree.
    TypeError: `labels` is not of integers.
  """
  if setting.kind == "softmax":
    return identity_logits(head, codes)
  sizes = check_array("codes", codes, "B I")
  sizes = check_array("head['kernel']", head["kernel"], "I K", sizes=sizes)
  check_array("labels", labels, "B", dtype="integer", sizes=sizes)
  lengths = code_lengths(codes)
  columns = code_lengths(head["kernel"].T)
  cosine = (codes / lengths[:, None]) @ (head["kernel"] / columns[None])
  safe = jnp.clip(labels, 0, sizes["K"] - 1)
  own = jnp.take_along_axis(cosine, safe[:, None], 1)[:, 0]
  own = own_class_value(own, lengths, setting=setting, step=step, norms=norms)
  is_own = labels[:, None] == jnp.arange(sizes["K"])[None]
  return setting.scale * jnp.where(is_own, own[:, None], cosine)


def own_class_value(
  cosine: Float[Array, "*B"],
  lengths: Float[Array, "*B"],
  *,
  setting: HeadSetting,
  step: Int[Array, ""] | int,
  norms: CodeNorms | None = None,
) -> Float[Array, "*B"]:
  """What stands in the place of the right class's cosine.

  Args:
    cosine: Of code and right class, `[...]`.
    lengths: |c|, `[...]`; AdaFace's quality, without a gradient.
    setting: The head, not softmax.
    step: See `class_logits`.
    norms: See `class_logits`.

  Returns:
    Values, `[...]`, to be multiplied by the scale.

  Raises:
    UserError: Softmax has no margin.
  """
  margin = setting.margin
  match setting.kind:
    case "a_softmax":
      weight = annealed_lambda(setting, step)
      psi = _monotonous_multiple(cosine, int(margin))
      return (weight * cosine + psi) / (1 + weight)
    case "cosface":
      return cosine - margin
    case "arcface":
      # Beyond pi - m the cosine would rise again: a line goes on downwards.
      turned = jnp.cos(_angle(cosine) + margin)
      beyond = cosine - margin * math.sin(margin)
      return jnp.where(cosine > math.cos(math.pi - margin), turned, beyond)
    case "adaface":
      quality = _quality(lengths, norms, setting.concentration)
      angle = jnp.clip(_angle(cosine) - margin * quality, 1e-3, math.pi - 1e-3)
      return jnp.cos(angle) - margin * (1 + quality)
    case _:
      raise UserError(f"setting.kind: {setting.kind} has no margin")


def _angle(cosine: Float[Array, "*B"]) -> Float[Array, "*B"]:
  return jnp.arccos(jnp.clip(cosine, -_LARGEST_COSINE, _LARGEST_COSINE))


def _monotonous_multiple(
  cosine: Float[Array, "*B"], multiple: int
) -> Float[Array, "*B"]:
  """Psi = (-1)^k cos(m theta) - 2 k for theta in [k pi/m, (k+1) pi/m]."""
  bends = [
    (cosine <= math.cos(j * math.pi / multiple)).astype(jnp.float32)
    for j in range(1, multiple)
  ]
  k = sum(bends, start=jnp.zeros_like(cosine))
  sign = 1 - 2 * jnp.mod(k, 2)
  powers = jnp.asarray(_MULTIPLE_ANGLE[multiple], cosine.dtype)
  return sign * jnp.polyval(powers, cosine) - 2 * k


def _quality(
  lengths: Float[Array, "*B"], norms: CodeNorms | None, concentration: float
) -> Float[Array, "*B"]:
  """AdaFace's z in [-1, 1]: 0 for a code of mean length."""
  if norms is None:
    return jnp.zeros_like(lengths)
  weight = jnp.maximum(norms.weight, 1e-6)
  known = (norms.weight > 0).astype(lengths.dtype)
  mean, deviation = norms.mean / weight, norms.deviation / weight
  standard = (lengths - mean) / (deviation + 1e-3)
  return lax.stop_gradient(
    known * jnp.clip(concentration * standard, -1.0, 1.0)
  )
