"""Each head against NumPy written out, and against finite differences of it."""

import math

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network.identity_heads import cosine_head_from_means
from disentangle3d.network.margins import (
  MARGINS,
  CodeNorms,
  HeadSetting,
  annealed_lambda,
  class_logits,
  initial_code_norms,
  own_class_value,
  update_code_norms,
)
from disentangle3d.training.losses import identification_loss

_B, _I, _K = 6, 5, 9
_STEP = 700  # lambda = 1000 / (1 + 0.12 * 700) = 11.8
_MEAN, _DEVIATION = 2.0, 0.6
_KINDS = ("softmax", *MARGINS)


def _setting(kind):
  return HeadSetting(kind, scale=7.0, margin=MARGINS.get(kind, 0.0))


def _norms():
  # As after many batches: sums over the weight are the means.
  return CodeNorms(
    mean=jnp.float32(0.5 * _MEAN),
    deviation=jnp.float32(0.5 * _DEVIATION),
    weight=jnp.float32(0.5),
  )


def _numbers():
  rng = np.random.default_rng(3)
  return {
    "codes": rng.normal(size=(_B, _I)),
    "kernel": rng.normal(size=(_I, _K)),
    "bias": rng.normal(size=_K),
  }


_LABELS = np.array([0, 8, 3, 3, 1, 7], np.int32)


def _psi(theta, m):
  k = math.floor(m * theta / math.pi)
  return (-1) ** k * math.cos(m * theta) - 2 * k


def _own(kind, theta, z):
  """The papers' formulas of the right class, angle by angle."""
  m = MARGINS[kind]
  if kind == "a_softmax":
    weight = max(5.0, 1000 / (1 + 0.12 * _STEP))
    return (weight * math.cos(theta) + _psi(theta, 4)) / (1 + weight)
  if kind == "cosface":
    return math.cos(theta) - 0.35
  if kind == "arcface":
    if theta + m <= math.pi:
      return math.cos(theta + m)
    return math.cos(theta) - m * math.sin(m)
  return math.cos(theta - m * z) - (m * z + m)


def _loss(kind, codes, kernel, bias, quality):
  """Sum over the examples of -log softmax, in float64."""
  total = 0.0
  for b in range(_B):
    logits = []
    for k in range(_K):
      dot = float(codes[b] @ kernel[:, k])
      if kind == "softmax":
        logits.append(dot + bias[k])
        continue
      length = np.linalg.norm(codes[b]) * np.linalg.norm(kernel[:, k])
      value = dot / length
      if k == _LABELS[b]:
        value = _own(kind, math.acos(value), quality[b])
      logits.append(7.0 * value)
    total += math.log(sum(math.exp(x) for x in logits)) - logits[_LABELS[b]]
  return total


def _quality(codes):
  z = (np.linalg.norm(codes, axis=1) - _MEAN) / (_DEVIATION + 1e-3)
  return np.clip(0.333 * z, -1, 1)


def _difference(function, point, epsilon=1e-6):
  gradient = np.zeros_like(point)
  for index in np.ndindex(point.shape):
    ahead, behind = point.copy(), point.copy()
    ahead[index] += epsilon
    behind[index] -= epsilon
    gradient[index] = (function(ahead) - function(behind)) / (2 * epsilon)
  return gradient


def _value_and_gradients(kind):
  given = jax.tree.map(np.float32, _numbers())

  def loss(given):
    head = {"kernel": given["kernel"]}
    if kind == "softmax":
      head["bias"] = given["bias"]
    logits = class_logits(
      head,
      given["codes"],
      _LABELS,
      setting=_setting(kind),
      step=_STEP,
      norms=_norms(),
    )
    return jnp.sum(identification_loss(logits, _LABELS))

  return jax.jit(jax.value_and_grad(loss))(given)


class HeadsTest(parameterized.TestCase):
  @parameterized.parameters(*_KINDS)
  def test_loss_and_gradients_are_the_papers(self, kind):
    numbers = _numbers()
    # The quality of a code is a number to AdaFace, not a way for gradients.
    quality = _quality(numbers["codes"])
    value, gradients = _value_and_gradients(kind)
    self.assertAlmostEqual(
      float(value), _loss(kind, **numbers, quality=quality), places=3
    )
    for name in numbers:
      expected = _difference(
        lambda x, name=name: _loss(
          kind, **(numbers | {name: x}), quality=quality
        ),
        numbers[name],
      )
      np.testing.assert_allclose(
        gradients[name], expected, rtol=2e-3, atol=2e-4, err_msg=name
      )

  @parameterized.parameters(*MARGINS)
  def test_the_right_class_is_asked_for_more_and_never_less_by_turning(
    self, kind
  ):
    theta = np.linspace(0.02, math.pi - 0.02, 400).astype(np.float32)
    value = own_class_value(
      jnp.cos(theta), jnp.ones(400), setting=_setting(kind), step=10**6
    )
    self.assertTrue(np.all(value <= jnp.cos(theta) + 1e-6))
    self.assertTrue(np.all(np.diff(value) < 1e-6))

  def test_margins_stay_finite_at_the_ends_and_for_a_zero_code(self):
    head = {"kernel": jnp.asarray([[1.0, -1.0], [0.0, 0.0]])}
    codes = jnp.asarray([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    for kind in MARGINS:

      def loss(codes, kind=kind):
        logits = class_logits(
          head, codes, jnp.zeros(3, jnp.int32), setting=_setting(kind), step=0
        )
        return jnp.sum(identification_loss(logits, jnp.zeros(3, jnp.int32)))

      value, gradient = jax.value_and_grad(loss)(codes)
      self.assertTrue(np.isfinite(value), kind)
      self.assertTrue(np.all(np.isfinite(gradient)), kind)

  def test_a_label_of_another_shard_has_no_margin_here(self):
    numbers = jax.tree.map(np.float32, _numbers())
    settings = {"setting": _setting("cosface"), "step": 0}
    head = {"kernel": numbers["kernel"]}
    whole = class_logits(head, numbers["codes"], _LABELS, **settings)
    parts = [
      class_logits(
        {"kernel": numbers["kernel"][:, first : first + 3]},
        numbers["codes"],
        _LABELS - first,
        **settings,
      )
      for first in (0, 3, 6)
    ]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-5)


class LambdaTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 0, 1000.0), (100, 0, 1000 / 13), (60, 40, 1000 / 13), (10**6, 0, 5.0)
  )
  def test_lambda_falls_with_the_step(self, step, before, expected):
    setting = HeadSetting("a_softmax", margin=4.0, steps_before=before)
    self.assertAlmostEqual(
      float(annealed_lambda(setting, step)), expected, places=3
    )


class CodeNormsTest(absltest.TestCase):
  def test_running_mean_and_deviation_against_numpy(self):
    rng = np.random.default_rng(0)
    norms = initial_code_norms()
    batches = rng.uniform(1, 3, (4, 50))
    means, deviations, weights = [], [], []
    for number, batch in enumerate(batches):
      norms = update_code_norms(
        norms,
        jnp.float32(batch.mean()),
        jnp.float32((batch**2).mean()),
        momentum=0.1,
      )
      means.append(batch.mean())
      deviations.append(batch.std())
      weights.append(0.1 * 0.9 ** (len(batches) - 1 - number))
    self.assertAlmostEqual(
      float(norms.mean / norms.weight),
      np.average(means, weights=weights),
      places=4,
    )
    self.assertAlmostEqual(
      float(norms.deviation / norms.weight),
      np.average(deviations, weights=weights),
      places=4,
    )

  def test_longer_codes_are_asked_for_more_by_addition(self):
    settings = {"setting": _setting("adaface"), "step": 0, "norms": _norms()}
    # At a right angle: sin(m z) - m (1 + z).
    value = own_class_value(
      jnp.zeros(3), jnp.asarray([1.0, _MEAN, 9.0]), **settings
    )
    z = 0.333 * (1 - _MEAN) / (_DEVIATION + 1e-3)
    expected = [math.sin(0.4 * z) - 0.4 * (1 + z), -0.4, math.sin(0.4) - 0.8]
    np.testing.assert_allclose(value, expected, atol=1e-5)


class SettingTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"kind": "triplet"}, "kind: expected one of softmax, a_softmax"),
    ({"kind": "a_softmax", "margin": 2.5}, "1, 2, 3 or 4"),
    ({"kind": "cosface", "margin": -0.1}, "margin: expected 0 or more"),
    ({"kind": "arcface", "scale": 0.0}, "scale: expected above 0"),
  )
  def test_bad_settings_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      HeadSetting(**fields)

  def test_means_become_unit_columns(self):
    head = cosine_head_from_means(jnp.asarray([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(head["kernel"], [[0.6, 0.0], [0.8, 0.0]])


if __name__ == "__main__":
  absltest.main()
