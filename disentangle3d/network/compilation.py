"""Compiler options that make programs faster where they are known to.

CPU: jaxlib 0.10 hands convolutions to YNNPACK, which takes 1.3 to 1.7 times as
long as the older Eigen path, most of all backwards. Sums over images and
pixels (a bias's gradient) it does far faster than XLA's own loop, so these
stay.

GPU: XLA launches a network's convolutions one by one, and one image's are over
before the next is launched; as nodes of CUDA graphs they are launched together.

The names are XLA's own and may go at any release, so each is tried before it
is used.
"""

import jax

_EIGEN_CONVOLUTIONS: dict[str, str | bool] = {
  "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"
}

# XLA's own choice, and convolutions.
_CONVOLUTIONS_IN_GRAPHS: dict[str, str | bool] = {
  "xla_gpu_enable_command_buffer": (
    "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,CONVOLUTION"
  )
}


def inference_compiler_options(
  *, backend: str | None = None
) -> dict[str, str | bool]:
  """Options for a program that is called with few images at a time.

  Args:
    backend: What the program will run on; None is JAX's default.

  Returns:
    As `cpu_compiler_options`, and on a GPU those that save launches.
  """
  if (backend or jax.default_backend()) == "gpu":
    return accepted_options(_CONVOLUTIONS_IN_GRAPHS)
  return cpu_compiler_options(backend=backend)


def cpu_compiler_options(
  *, backend: str | None = None
) -> dict[str, str | bool]:
  """Options for `jax.jit(..., compiler_options=...)` or `.compile(...)`.

  Args:
    backend: What the program will run on; None is JAX's default.

  Returns:
    Options that this jaxlib accepts; empty on other backends than CPU, and
    where it knows no such option.
  """
  if (backend or jax.default_backend()) != "cpu":
    return {}
  return accepted_options(_EIGEN_CONVOLUTIONS)


def accepted_options(options: dict[str, str | bool]) -> dict[str, str | bool]:
  """Those of XLA's options that the default backend's compiler knows.

  Args:
    options: Names and values as `compiler_options` takes them.

  Returns:
    The same without the refused ones.
  """
  lowered = jax.jit(lambda: 0).lower()
  accepted = {}
  for name, value in options.items():
    try:
      lowered.compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
      continue
    accepted[name] = value
  return accepted
