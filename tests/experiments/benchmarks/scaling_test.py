import math

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.export import abstract_params
from experiments.benchmarks.collectives import (
  Collective,
  Payload,
  collectives_of,
  payloads_of,
)
from experiments.benchmarks.scaling import (
  Link,
  count_step,
  device_counts,
  predict,
  prediction_chart,
  prediction_table,
)

_MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=600)
_CLASSES, _BATCH = 100, 4


def _counted(head: str, count: int, dtype: str = "float32"):
  found = count_step(
    _MODEL,
    head,
    jax.devices()[:count],
    batch_a_device=_BATCH,
    num_classes=_CLASSES,
    gradient_dtype=dtype,
  )
  payloads: dict[str, float] = {}
  for one in found:
    payloads[one.what] = payloads.get(one.what, 0) + one.payload_bytes
  return found, payloads


class CollectivesTest(absltest.TestCase):
  def test_lines_of_programs(self):
    line = (
      "%x.1 = (f32[2,3]{1,0}, bf16[10]{0}) all-reduce(%a, %b),"
      ' to_apply=%region_0, metadata={op_name="jit(f)/shard_map/psum"}\n'
      "%y = f32[100]{0} reduce-scatter(%c), to_apply=%region_1,"
      ' metadata={op_name="jit(f)/shard_map/reduce_scatter"}\n'
      "%z = f32[8]{0} all-reduce(%d), to_apply=%region_2.0_promoted\n"
      "%w = f32[8]{0} add(%d, %d)\n"
      "%v = (f32[4]{0}, f32[16]{0}) all-gather-start(%d)\n"
      "%u = f32[16]{0} all-gather-done(%v)\n"
    )
    self.assertEqual(
      collectives_of(line, 4, gradients={6: "encoder"}),
      [
        Collective("all-reduce", "gradient of encoder", 24.0),
        Collective("all-reduce", "psum", 20.0, operations=0),
        Collective("reduce-scatter", "reduce_scatter", 1600.0),
        Collective("all-reduce", "not said", 16.0),
        Collective("all-gather", "not said", 64.0),
      ],
    )

  def test_a_ring_moves_its_payload(self):
    self.assertEqual(Collective("all-reduce", "x", 8.0).moved_bytes(4), 12.0)
    self.assertEqual(Collective("all-gather", "x", 8.0).moved_bytes(4), 6.0)
    self.assertEqual(Collective("all-reduce", "x", 8.0).moved_bytes(1), 0.0)

  def test_payloads_lie_on_a_line(self):
    def step(devices):
      return devices, [
        Collective("all-reduce", "g", 100.0),
        Collective("all-gather", "codes", 8.0 * devices),
      ]

    self.assertEqual(
      payloads_of([step(2), step(4), step(8)]),
      [
        Payload("all-reduce", "g", 1, 100.0, 0.0),
        Payload("all-gather", "codes", 1, 0.0, 8.0),
      ],
    )
    bent = 4, [Collective("all-reduce", "g", 1e6)]
    with self.assertRaisesRegex(ValueError, "g: expected 100 bytes on 4"):
      payloads_of([step(2), bent, step(8)])


class CountTest(absltest.TestCase):
  def test_gradients_are_what_the_params_weigh(self):
    params = abstract_params(_MODEL)
    weights = {
      f"gradient of {name}": 4.0
      * sum(map(np.size, jax.tree.leaves(params[name])))
      for name in ("encoder", "identity_decoder", "residual_decoder")
    }
    _, dense = _counted("dense", 2)
    head = {"gradient of identity_head": 4.0 * _CLASSES * (12 + 1)}
    for what, expected in (weights | head).items():
      self.assertEqual(dense[what], expected, what)
    _, half = _counted("dense", 2, "bfloat16")
    for what, expected in (weights | head).items():
      self.assertEqual(half[what], expected / 2, what)

  def test_a_sharded_head_moves_codes_in_place_of_its_gradient(self):
    counted = [(count, _counted("sharded", count)[0]) for count in (2, 4)]
    payloads = {(one.kind, one.what): one for one in payloads_of(counted)}
    self.assertNotIn("gradient of identity_head", {w for _, w in payloads})
    codes = payloads["all-gather", "all_gather"]
    # Codes in float32 and labels in int32.
    self.assertEqual(codes.bytes_a_device, 4 * _BATCH * (12 + 1))
    self.assertEqual(codes.constant_bytes, 0)


class PredictTest(absltest.TestCase):
  def test_efficiency_is_of_the_step_and_the_link(self):
    payloads = [
      Payload("all-reduce", "gradients", 1, 5e9, 0.0),
      Payload("all-gather", "codes", 1, 0.0, 1e6),
    ]
    link = Link(gb_s=100.0)
    row = predict(payloads, 2, step_s=0.1, link=link)
    self.assertAlmostEqual(row.communication_ms, 1e3 * (5e9 + 1e6) / 1e11)
    self.assertAlmostEqual(row.efficiency, 0.1 / (0.1 + 5.001e9 / 1e11))
    self.assertEqual(row.efficiency_hidden, 1.0)
    self.assertEqual(row.limit, "gradients")
    many = predict(payloads, 2**16, step_s=0.1, link=link)
    self.assertEqual(many.limit, "codes")
    alone = predict(payloads, 1, step_s=0.1, link=link)
    self.assertEqual((alone.efficiency, alone.moved_mib), (1.0, 0.0))

  def test_latency_is_waited_for_in_every_level_of_a_tree(self):
    link = Link(gb_s=1.0, latency_us=10.0)
    self.assertAlmostEqual(link.seconds(0.0, 3, 1024), 3 * 10 * 10e-6)

  def test_table_and_chart(self):
    payloads = [Payload("all-reduce", "gradients", 1, 5e9, 0.0)]
    cases = {
      "dense": [
        predict(payloads, count, step_s=0.1, link=Link(50.0))
        for count in device_counts(4)
      ]
    }
    table = prediction_table(cases)
    self.assertEqual([row[1] for row in table.rows], [1, 2, 4])
    self.assertLen(table.header, len(table.rows[0]))
    self.assertEqual(table.rows[2][6], "gradients 100%")
    self.assertStartsWith(prediction_chart(cases), b"\x89PNG")
    self.assertTrue(math.isclose(cases["dense"][1].efficiency, 0.5))


if __name__ == "__main__":
  absltest.main()
