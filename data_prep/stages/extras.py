"""What only some users install: the extras of `pyproject.toml`."""

import importlib.util

from disentangle3d.types import UserModuleNotFoundError

# Packages that are not called as their modules are.
_PACKAGES = {"dlib": "dlib-bin", "eos": "eos-py"}


def require(extra: str, what: str, *modules: str) -> None:
  """Checks that the packages of an extra are installed.

  Args:
    extra: Its name.
    what: What for, as "to detect faces".
    modules: What must be importable, by their top-level names.

  Raises:
    UserModuleNotFoundError: Some are not; names them and the extra.
  """
  missing = [
    _PACKAGES.get(name, name)
    for name in modules
    if importlib.util.find_spec(name) is None
  ]
  if missing:
    raise UserModuleNotFoundError(
      f"{' and '.join(missing)} needed {what}: install the extra `{extra}` (pip"
      f" install 'disentangle3d[{extra}]')"
    )
