"""Scores of reconstructions on synthetic people whose true shape is known.

Several methods are scored on the same photos in one pass, so that each true
shape is made once, and only a batch of shapes is ever in memory.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.rows import in_batches


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
  """Something that has shapes to show for each photo of a set.

  Attributes:
    shapes: `(data, rows)` to shape and identity shape, `[B, V, 3]` each, mm;
      jitted.
    data: Its arrays; passed, not closed over, so that no program embeds them.
  """

  shapes: Callable[[Any, Int[Array, "B"]], tuple[Array, Array]]
  data: Any

  def make(
    self, rows: Int[Array | np.ndarray, "B"]
  ) -> tuple[Float[Array, "B V 3"], Float[Array, "B V 3"]]:
    """Shapes and identity shapes of some photos."""
    return self.shapes(self.data, jnp.asarray(rows))


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeScores:
  """Errors of one method on P photos, mm; one number a photo.

  Attributes:
    within: RMSE within 95 mm of the nose tip, similarity alignment, `[P]`.
    within_rigid: The same, rigid alignment, `[P]`.
    everywhere: RMSE over all vertices, similarity alignment, `[P]`.
    everywhere_rigid: The same, rigid alignment, `[P]`.
    identity_within: RMSE of the identity shape against the person's true
      neutral shape, within 95 mm, similarity alignment, `[P]`.
    identity_within_rigid: The same, rigid alignment, `[P]`.
  """

  within: Float[np.ndarray, "P"]
  within_rigid: Float[np.ndarray, "P"]
  everywhere: Float[np.ndarray, "P"]
  everywhere_rigid: Float[np.ndarray, "P"]
  identity_within: Float[np.ndarray, "P"]
  identity_within_rigid: Float[np.ndarray, "P"]

  @classmethod
  def only_within(cls, errors: Float[np.ndarray, "4 P"]) -> "ShapeScores":
    """Of what is not measured over all vertices, which is NaN.

    Args:
      errors: The four fields within 95 mm, in their order.
    """
    missing = np.full(errors.shape[1], np.nan)
    return cls(errors[0], errors[1], missing, missing, errors[2], errors[3])


def score_shapes(
  truth: Method,
  methods: Mapping[str, Method],
  num_photos: int,
  landmark_vertices: Int[np.ndarray, "68"],
  *,
  batch_size: int = 0,
) -> dict[str, ShapeScores]:
  """Scores every method on every photo.

  Args:
    truth: The photo's own true shape, and the person's true neutral shape.
    methods: What to score, by name.
    num_photos: P.
    landmark_vertices: The vertices to align by.
    batch_size: Photos at a time; the last batch is filled up with repeats. 0
      suits the default backend.

  Returns:
    Scores, by the methods' names.
  """
  batch_size = batch_size or (10 if jax.default_backend() == "cpu" else 100)
  marks = jnp.asarray(landmark_vertices)

  def score(rows: Int[np.ndarray, "B"]) -> dict[str, tuple[Array, ...]]:
    true_shapes = truth.make(rows)
    return {
      name: _compare(method.make(rows), true_shapes, marks)
      for name, method in methods.items()
    }

  errors = in_batches(score, np.arange(num_photos), batch_size)
  return {name: ShapeScores(*errors[name]) for name in methods}


@jax.jit
def _compare(
  predicted: tuple[Array, Array],
  truth: tuple[Array, Array],
  landmark_vertices: Array,
) -> tuple[Float[Array, "B"], ...]:
  """The six numbers of `ShapeScores`, in the order of its fields."""

  def error(which: int, protocol: str) -> Any:
    return shape_error(
      predicted[which],
      truth[which],
      landmark_vertices=landmark_vertices,
      protocol=protocol,
    )

  similar, rigid = error(0, "liu2018"), error(0, "liu2018_rigid")
  return (
    similar.rmse_mm,
    rigid.rmse_mm,
    similar.rmse_all_mm,
    rigid.rmse_all_mm,
    error(1, "liu2018").rmse_mm,
    error(1, "liu2018_rigid").rmse_mm,
  )
