import os

from absl.testing import absltest

from experiments.measures.processes import map_in_processes


class MapInProcessesTest(absltest.TestCase):
  def test_the_order_stays_whatever_ends_first(self):
    before = dict(os.environ)
    found = list(map_in_processes(pow_two, range(20), processes=2))
    self.assertEqual([value for value, _ in found], [2**i for i in range(20)])
    self.assertNotIn(os.getpid(), {pid for _, pid in found})
    self.assertEqual(dict(os.environ), before)

  def test_one_process_is_this_one(self):
    found = list(map_in_processes(pow_two, [3], processes=1))
    self.assertEqual(found, [(8, os.getpid())])

  def test_what_goes_wrong_comes_back(self):
    with self.assertRaises(TypeError):
      list(map_in_processes(pow_two, ["a"], processes=2))


def pow_two(number):
  """Where, and what."""
  return 2**number, os.getpid()


if __name__ == "__main__":
  absltest.main()
