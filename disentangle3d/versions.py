"""Which versions something was made with."""

from collections.abc import Sequence
import importlib.metadata
import platform


def versions_of(packages: Sequence[str]) -> dict[str, str]:
  """The versions of Python and of packages, by name.

  Args:
    packages: As the package index calls them; one that is not there is "not
      installed".
  """
  found = {"python": platform.python_version()}
  for package in packages:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = "not installed"
  return found
