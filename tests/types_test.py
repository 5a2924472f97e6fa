from absl.testing import absltest, parameterized
import jax
import numpy as np

from disentangle3d.types import (
  UserError,
  UserFileNotFoundError,
  check_array,
  check_choice,
  check_key,
  choose,
)


class UserErrorTest(absltest.TestCase):
  def test_a_message_is_one_line_whatever_a_name_holds(self):
    for kind in (UserError, UserFileNotFoundError):
      error = kind("a.zip::b\n.t\x85x\u2028: é broken")
      self.assertEqual(str(error), "a.zip::b .t x : é broken")
      self.assertEqual(str(kind("plain \t é")), "plain \t é")


class CheckArrayTest(parameterized.TestCase):
  def test_letters_bind_and_carry_over(self):
    sizes = check_array("a", np.zeros((4, 3, 68, 2)), "S N 68 2")
    self.assertEqual(sizes, {"S": 4, "N": 3})
    sizes = check_array("b", np.zeros((7, 4)), "... S", sizes=sizes)
    self.assertEqual(sizes, {"S": 4, "N": 3})

  @parameterized.named_parameters(
    ("rank", (4, 68, 2), "S N 68 2", r"a: expected shape \[S, N, 68, 2\]"),
    ("number", (4, 3, 67, 2), "S N 68 2", r"got \[4, 3, 67, 2\]"),
    ("letter_twice", (4, 3), "S S", r"expected shape \[S, S\], got \[4, 3\]"),
    ("too_short", (2,), "... P 2", r"got \[2\]"),
  )
  def test_a_wrong_shape_is_named(self, got, wanted, message):
    with self.assertRaisesRegex(ValueError, message):
      check_array("a", np.zeros(got), wanted)

  def test_a_bound_letter_is_shown_with_its_size(self):
    with self.assertRaisesRegex(ValueError, r"b: expected shape \[S=4\]"):
      check_array("b", np.zeros(5), "S", sizes={"S": 4})

  @parameterized.parameters(
    (np.int32, "floating"),
    (np.float32, "integer"),
    (np.int8, "uint8 or floating"),
  )
  def test_a_wrong_dtype_is_named(self, dtype, kind):
    with self.assertRaisesRegex(TypeError, f"a: expected a {kind} dtype"):
      check_array("a", np.zeros(3, dtype), "L", dtype=kind)

  def test_a_list_is_no_array(self):
    with self.assertRaisesRegex(TypeError, "expected an array .*got list"):
      check_array("a", [1.0], "L")

  def test_it_works_while_tracing(self):
    def f(x):
      check_array("x", x, "L 2")
      return x

    jax.jit(f)(np.zeros((3, 2)))
    with self.assertRaises(ValueError):
      jax.jit(f)(np.zeros((3, 3)))


class CheckChoiceTest(absltest.TestCase):
  def test_others_are_refused_with_a_list(self):
    for choices in ({"one": 1, "two": 2}, ("one", "two")):
      check_choice("count", "two", choices)
      with self.assertRaisesRegex(
        UserError, "^count: expected one of one, two, got 'three'$"
      ):
        check_choice("count", "three", choices)

  def test_a_name_is_looked_up_and_a_value_taken(self):
    choices = {"one": 1, "two": 2}
    self.assertEqual(choose("count", "two", choices), 2)
    self.assertEqual(choose("count", 7, choices), 7)
    with self.assertRaisesRegex(UserError, "count: expected one of one, two"):
      choose("count", "three", choices)


class CheckKeyTest(absltest.TestCase):
  def test_only_typed_keys_pass(self):
    check_key("key", jax.random.key(0))
    with self.assertRaisesRegex(TypeError, "key: expected a key from jax"):
      check_key("key", jax.random.PRNGKey(0))
    with self.assertRaisesRegex(TypeError, "got int"):
      check_key("key", 0)


if __name__ == "__main__":
  absltest.main()
