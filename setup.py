"""The one compiled part; all else about the package stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "mlxbuild.toolchain.weights.affine_kernel",
            ["toolchain/weights/affine_kernel.c"],
            extra_compile_args=["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"],
            py_limited_api=True,
            optional=True,  # without a compiler MLX does this work, to the same bytes
        )
    ]
)
