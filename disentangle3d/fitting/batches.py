"""Which subjects are fitted together: few programs, little padding.

A program is compiled for each size of batch, subjects x images a subject, so
subjects with few images are padded up to a size that others have. The sizes
that waste least, compiling included, are found by dynamic programming over how
many subjects have how many images.
"""

from collections.abc import Iterator, Sequence
import dataclasses

from jaxtyping import Int
import numpy as np

# A batch: large enough to keep two cores and an accelerator busy, small enough
# for their memory (about 25 kB an image).
BATCH_IMAGES = 3072
# Compiling takes about as long as fitting so many images.
IMAGES_A_PROGRAM = 20_000
_MOST_PROGRAMS = 8


@dataclasses.dataclass(frozen=True, order=True)
class BatchShape:
  """The size of a batch.

  Attributes:
    images: Of each subject, padding included.
    subjects: Padding included.
  """

  images: int
  subjects: int


def plan_batches(
  sizes: Sequence[int] | Int[np.ndarray, "S"],
  *,
  batch_images: int = BATCH_IMAGES,
  images_a_program: int = IMAGES_A_PROGRAM,
) -> tuple[BatchShape, ...]:
  """The sizes of batches for subjects with so many images.

  Args:
    sizes: Images of each subject, all at least 1, `[S]`.
    batch_images: Images of a batch, about: bounds the memory.
    images_a_program: How many images are fitted in the time that compiling
      for one more size takes.

  Returns:
    At most eight sizes, ascending; a subject belongs to the first that its
    images fit in.

  Raises:
    ValueError: There is no subject, or one has no image.
  """
  sizes = np.asarray(sizes)
  if not sizes.size or sizes.min() < 1:
    raise ValueError(
      "sizes: expected at least one subject, each with an image or more"
    )
  widths, counts = np.unique(sizes, return_counts=True)
  before = np.concatenate([[0], np.cumsum(counts)])
  # cost[k] of the first k widths, the last bucket ending there.
  cost = np.concatenate([[0.0], np.full(len(widths), np.inf)])
  choices = []
  costs = [cost]
  for _ in range(_MOST_PROGRAMS):
    wanted = np.full(len(widths) + 1, np.inf)
    choice = np.zeros(len(widths) + 1, int)
    for end in range(1, len(widths) + 1):
      padded = widths[end - 1] * (before[end] - before[:end])
      total = costs[-1][:end] + padded + images_a_program
      choice[end] = np.argmin(total)
      wanted[end] = total[choice[end]]
    costs.append(wanted)
    choices.append(choice)
  end, ends = len(widths), []
  for level in range(int(np.argmin([c[-1] for c in costs])), 0, -1):
    ends.append(end)
    end = choices[level - 1][end]
  shapes = []
  start = 0
  for end in reversed(ends):
    width = int(widths[end - 1])
    members = int(before[end] - before[start])
    subjects = max(1, min(batch_images // width, members))
    shapes.append(BatchShape(width, subjects))
    start = end
  return tuple(shapes)


def shape_of(
  sizes: Sequence[int] | Int[np.ndarray, "S"], shapes: Sequence[BatchShape]
) -> Int[np.ndarray, "S"]:
  """Which of the sizes each subject belongs to, `[S]`.

  Raises:
    ValueError: A subject has more images than the largest size.
  """
  widths = np.array([shape.images for shape in shapes])
  found = np.searchsorted(widths, sizes)
  if found.max(initial=0) >= len(widths):
    raise ValueError(
      f"shapes: expected one for a subject with {np.max(sizes)} images, got"
      f" {widths.max()} at most"
    )
  return found


def image_batches(
  subjects: np.ndarray, shapes: Sequence[BatchShape] | None = None
) -> Iterator[Int[np.ndarray, "S N"]]:
  """Which images go into which batch.

  Args:
    subjects: Who is in each image, `[M]`.
    shapes: From `plan_batches`, of these subjects or of more; None plans for
      these.

  Yields:
    Places of images, `[S, N]`, -1 for padding, every place in exactly one
    batch, all of a subject's in one row.
  """
  _, owner, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
  by_owner = np.split(np.argsort(owner, kind="stable"), np.cumsum(sizes)[:-1])
  shapes = plan_batches(sizes) if shapes is None else shapes
  belongs = shape_of(sizes, shapes)
  for number, shape in enumerate(shapes):
    members = np.flatnonzero(belongs == number)
    for start in range(0, len(members), shape.subjects):
      batch = np.full((shape.subjects, shape.images), -1)
      for row, member in enumerate(members[start : start + shape.subjects]):
        batch[row, : sizes[member]] = by_owner[member]
      yield batch
