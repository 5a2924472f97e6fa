"""The sharded head on 1, 2, 4 and 8 devices against the dense one."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network.margins import MARGINS, HeadSetting, class_logits
from disentangle3d.training.identification import (
  Moment,
  identification_losses,
  sampled_classes,
)
from disentangle3d.training.losses import identification_loss
from disentangle3d.training.placement import AXIS, cut_classes, merge_classes

_B, _I, _K = 16, 7, 37  # 37 is prime: every number of devices has padding
_STEP = 40


def _numbers(num_classes=_K):
  rng = np.random.default_rng(1)
  return (
    {
      "kernel": rng.normal(size=(_I, num_classes)).astype(np.float32),
      "bias": rng.normal(size=num_classes).astype(np.float32),
    },
    rng.normal(size=(_B, _I)).astype(np.float32),
    rng.integers(0, num_classes, _B).astype(np.int32),
  )


def _head(kind, head):
  return head if kind == "softmax" else {"kernel": head["kernel"]}


def _sharded(kind, head, codes, labels, devices, *, share=1.0, key=0):
  """Mean loss and true gradients of head and codes, from the mapped loss."""
  num_classes = head["kernel"].shape[1]
  setting = HeadSetting(
    kind,
    scale=7.0,
    margin=MARGINS.get(kind, 0.0),
    sharded=True,
    sampled_share=share,
  )

  def loss(head, codes, labels):
    moment = Moment(jnp.int32(_STEP), jax.random.key(key), None)
    return jnp.mean(
      identification_losses(
        head,
        codes,
        labels,
        setting=setting,
        num_classes=num_classes,
        moment=moment,
      )
    )

  def step(head, codes, labels):
    value, (of_head, of_codes) = jax.value_and_grad(loss, (0, 1))(
      head, codes, labels
    )
    # As the step does it: a sharded entry's gradient comes n times too large,
    # and so does that of codes, of which each device has its own.
    n = lax.axis_size(AXIS)
    of_head = jax.tree.map(lambda g: g / n, of_head)
    return lax.pmean(value, AXIS), of_head, of_codes / n

  rows = lambda x: x.reshape(devices, -1, *x.shape[1:])  # noqa: E731
  value, of_head, of_codes = jax.pmap(
    step, axis_name=AXIS, devices=jax.devices()[:devices]
  )(
    jax.tree.map(lambda x: cut_classes(x, devices), _head(kind, head)),
    rows(codes),
    rows(labels),
  )
  merged = jax.tree.map(
    lambda g: merge_classes(np.asarray(g), num_classes), of_head
  )
  return value[0], merged, np.asarray(of_codes).reshape(codes.shape)


@functools.cache
def _dense(kind):
  head, codes, labels = _numbers()
  setting = HeadSetting(kind, scale=7.0, margin=MARGINS.get(kind, 0.0))

  def loss(head, codes):
    logits = class_logits(head, codes, labels, setting=setting, step=_STEP)
    return jnp.mean(identification_loss(logits, labels))

  value, gradients = jax.value_and_grad(loss, (0, 1))(_head(kind, head), codes)
  return value, *gradients


class ShardedHeadTest(parameterized.TestCase):
  @parameterized.parameters(
    ("softmax", 1),
    ("softmax", 2),
    ("softmax", 8),
    ("arcface", 4),
    ("a_softmax", 8),
  )
  def test_loss_and_gradients_are_the_dense_heads(self, kind, devices):
    got = _sharded(kind, *_numbers(), devices)
    chex.assert_trees_all_close(got, _dense(kind), atol=1e-5, rtol=1e-7)

  def test_sampling_is_the_softmax_over_the_sample(self):
    head, codes, labels = _numbers(400)
    value, of_head, _ = _sharded(
      "softmax", head, codes, labels, 2, share=0.25, key=3
    )
    moved = np.abs(of_head["kernel"]).max(0) > 0
    self.assertEqual(moved.sum(), 2 * 50)
    self.assertTrue(moved[labels].all())
    logits = codes @ head["kernel"][:, moved] + head["bias"][moved]
    places = np.cumsum(moved)[labels] - 1
    expected = np.mean(identification_loss(logits, places))
    self.assertAlmostEqual(float(value), float(expected), places=4)
    # Another key, other strangers.
    _, other, _ = _sharded("softmax", head, codes, labels, 2, share=0.25, key=4)
    self.assertFalse(np.array_equal(moved, np.abs(other["kernel"]).max(0) > 0))

  def test_every_own_class_is_sampled_and_padding_last(self):
    own = jnp.asarray([9, -5, 0, 3, 3, 12])
    is_real = jnp.arange(12) < 10
    classes, places = sampled_classes(
      jax.random.key(0), own, is_real, share=0.1
    )
    self.assertLen(classes, 6)
    self.assertTrue(bool(jnp.all(is_real[classes])))
    np.testing.assert_array_equal(places[jnp.asarray([1, 5])], [-1, -1])
    here = jnp.asarray([0, 2, 3, 4])
    np.testing.assert_array_equal(classes[places[here]], own[here])


class CutTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 4, 8)
  def test_casias_classes_are_padded_and_come_back(self, shards):
    kernel = np.arange(2 * 10_575, dtype=np.float32).reshape(2, -1)
    parts = cut_classes(kernel, shards)
    self.assertEqual(parts.shape, (shards, 2, -(-10_575 // shards)))
    np.testing.assert_array_equal(merge_classes(parts, 10_575), kernel)
    self.assertEqual(merge_classes(cut_classes(np.float32(3), shards), 9), 3)


if __name__ == "__main__":
  absltest.main()
