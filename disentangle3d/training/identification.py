"""The identification loss inside the mapped step, dense or by class shards.

A dense head is whole on every device and sees that device's examples. Of a
sharded head each device has K / n classes and sees every example: codes are
gathered over "data", and the softmax is normalised by a maximum and a sum over
the devices. Where only a share of the classes is sampled (PartialFC), each
device keeps the classes of the batch's own people, and fills up with others
at random.
"""

import dataclasses

from jax import lax
import jax.numpy as jnp
import jax.random
from jaxtyping import Array, Float, Int

from disentangle3d.network.margins import CodeNorms, HeadSetting, class_logits
from disentangle3d.training.losses import identification_loss
from disentangle3d.training.placement import AXIS


@dataclasses.dataclass(frozen=True)
class Moment:
  """What a step knows besides params and examples.

  Attributes:
    step: Updates of the phase done so far.
    key: The key of the step.
    code_norms: See `margins.CodeNorms`; None for other heads than AdaFace.
  """

  step: Int[Array, ""]
  key: Array
  code_norms: CodeNorms | None


def identification_losses(
  head: dict[str, Array],
  codes: Float[Array, "B I"],
  labels: Int[Array, "B"],
  *,
  setting: HeadSetting,
  num_classes: int,
  moment: Moment,
) -> Float[Array, "B"]:
  """Negative log-likelihood of each of this device's examples.

  Args:
    head: The whole head, or this device's classes of a sharded one.
    codes: Identity codes of this device's examples, `[B, I]`.
    labels: Their classes, `[B]`, in [0, K).
    setting: Which head.
    num_classes: K.
    moment: Step, key and code norms.

  Returns:
    Losses, `[B]`, nats.
  """
  if not setting.sharded:
    logits = class_logits(
      head,
      codes,
      labels,
      setting=setting,
      step=moment.step,
      norms=moment.code_norms,
    )
    return identification_loss(logits, labels)
  all_codes = lax.all_gather(codes, AXIS, tiled=True)
  own = lax.all_gather(labels, AXIS, tiled=True)
  shard, size = lax.axis_index(AXIS), head["kernel"].shape[1]
  own = own - shard * size
  classes = jnp.arange(size)
  is_real = shard * size + classes < num_classes
  if setting.sampled_share < 1:
    key = jax.random.fold_in(moment.key, shard)
    classes, own = sampled_classes(
      key, own, is_real, share=setting.sampled_share
    )
    is_real = is_real[classes]
    head = {name: leaf[..., classes] for name, leaf in head.items()}
  logits = class_logits(
    head,
    all_codes,
    own,
    setting=setting,
    step=moment.step,
    norms=moment.code_norms,
  )
  logits = jnp.where(is_real[None], logits, -jnp.inf)
  losses = _sharded_losses(logits, own)
  batch = codes.shape[0]
  return lax.dynamic_slice(losses, (shard * batch,), (batch,))


def sampled_classes(
  key: Array, own: Int[Array, "B"], is_real: Array, *, share: float
) -> tuple[Int[Array, "C"], Int[Array, "B"]]:
  """Chooses classes of a shard: those of the batch, then others at random.

  Args:
    key: Of step and shard.
    own: Each example's class in this shard; outside [0, size) it is in
      another.
    is_real: Whether a class is one or padding, `[size]`.
    share: Of the classes that are taken. There are more where the batch
      could need them: at least B, so that no example misses its own.

  Returns:
    Classes of the shard, `[C]`, and each example's place among them, -1 where
    its class is in another shard.
  """
  size = is_real.shape[0]
  count = min(size, max(round(share * size), own.shape[0]))
  is_here = (own >= 0) & (own < size)
  # A negative index would count from the end; one past it is dropped.
  wanted = (
    jnp.zeros(size).at[jnp.where(is_here, own, size)].set(2.0, mode="drop")
  )
  scores = jax.random.uniform(key, (size,), jnp.float32) + wanted
  _, classes = lax.top_k(jnp.where(is_real, scores, -1.0), count)
  places = jnp.full(size, -1).at[classes].set(jnp.arange(count))
  return classes, jnp.where(is_here, places[jnp.clip(own, 0, size - 1)], -1)


def _sharded_losses(
  logits: Float[Array, "B C"], own: Int[Array, "B"]
) -> Float[Array, "B"]:
  largest = lax.pmax(lax.stop_gradient(jnp.max(logits, 1)), AXIS)
  total = lax.psum(jnp.sum(jnp.exp(logits - largest[:, None]), 1), AXIS)
  is_own = own[:, None] == jnp.arange(logits.shape[1])[None]
  right = lax.psum(jnp.sum(jnp.where(is_own, logits, 0.0), 1), AXIS)
  return jnp.log(total) + largest - right
