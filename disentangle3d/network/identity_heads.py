"""The softmax head of the identification loss: a plain FC on c_id (3.3.1).

Nothing is normalised: |c_id| and |W| are free, so the loss has no floor. The
heads with a margin (`margins`) have a kernel only. A head serves training only
and is never exported.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.network.sphereface import xavier
from disentangle3d.types import UserError, check_array, check_key


def init_identity_head(
  key: Array, *, num_classes: int, identity_dim: int, bias: bool = True
) -> dict[str, Array]:
  """A fresh head.

  Args:
    key: From `jax.random.key`; consumed.
    num_classes: K, the number of people in the training set.
    identity_dim: I.
    bias: Whether the head has one.

  Returns:
    `kernel` `[I, K]` (Xavier) and, if asked for, `bias` `[K]` (zero).

  Raises:
    TypeError: `key` is not a typed key.
    UserError: A size is not positive.
  """
  check_key("key", key)
  for name, size in (
    ("num_classes", num_classes),
    ("identity_dim", identity_dim),
  ):
    if size < 1:
      raise UserError(f"{name}: expected at least 1, got {size}")
  head = {"kernel": xavier(key, (identity_dim, num_classes), jnp.float32)}
  if bias:
    head["bias"] = jnp.zeros((num_classes,), jnp.float32)
  return head


def identity_logits(
  head: dict[str, Array], codes: Float[Array, "*B I"]
) -> Float[Array, "*B K"]:
  """c_id W + b.

  Args:
    head: `kernel` `[I, K]` and `bias` `[K]`.
    codes: Identity codes, `[..., I]`.

  Returns:
    Logits, `[..., K]`.

  Raises:
    ValueError: The shapes disagree.
  """
  sizes = check_array("head['kernel']", head["kernel"], "I K")
  check_array("head['bias']", head["bias"], "K", sizes=sizes)
  check_array("codes", codes, "... I", sizes=sizes)
  bias = head["bias"].reshape((1,) * (codes.ndim - 1) + head["bias"].shape)
  return codes @ head["kernel"] + bias


def class_means(
  codes: Float[Array, "B I"], labels: Int[Array, "B"], *, num_classes: int
) -> Float[Array, "K I"]:
  """The mean code of each class; zero for a class without examples.

  Args:
    codes: Identity codes, or latent targets, `[B, I]`.
    labels: Classes, `[B]`, in [0, K).
    num_classes: K.

  Returns:
    Means, `[K, I]`.

  Raises:
    ValueError: The shapes disagree.
    TypeError: `labels` is not of integers.
  """
  sizes = check_array("codes", codes, "B I")
  check_array("labels", labels, "B", dtype="integer", sizes=sizes)
  sums = jax.ops.segment_sum(codes, labels, num_classes)
  counts = jax.ops.segment_sum(
    jnp.ones(labels.shape, codes.dtype), labels, num_classes
  )
  return sums / jnp.maximum(counts, 1)[:, None]


def identity_head_from_means(
  means: Float[Array, "K I"], *, sharpness: float = 20.0
) -> dict[str, Array]:
  """A head that starts out as a nearest-mean classifier.

  The logit of class k is -sharpness / 2 |c - mu_k|^2 up to a term that all
  classes share: kernel = sharpness mu, bias = -sharpness / 2 |mu|^2. Joint
  training from a cold head first destroys what phase I learned.

  Args:
    means: mu, `[K, I]`, e.g. from `class_means`.
    sharpness: Inverse variance of a person's codes.

  Returns:
    `kernel` `[I, K]` and `bias` `[K]`.

  Raises:
    ValueError: `means` has another rank.
  """
  check_array("means", means, "K I")
  return {
    "kernel": sharpness * means.T,
    "bias": -0.5 * sharpness * jnp.sum(means * means, -1),
  }


def cosine_head_from_means(means: Float[Array, "K I"]) -> dict[str, Array]:
  """A head without bias whose class weights point at the means.

  Args:
    means: mu, `[K, I]`, e.g. from `class_means`.

  Returns:
    `kernel` `[I, K]`, columns of unit length; zero where a mean is.

  Raises:
    ValueError: `means` has another rank.
  """
  check_array("means", means, "K I")
  length = jnp.sqrt(jnp.sum(jnp.square(means), -1, keepdims=True))
  return {"kernel": (means / jnp.maximum(length, 1e-6)).T}
