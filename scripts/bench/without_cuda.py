"""Lets the official PyTorch wheel load in Python on a machine without the CUDA libraries it is linked with.

The Python of .peers imports this first (libtorch.pth). Empty libraries of the missing names, made by scripts/setup.sh, are
loaded, so that the loader looks no further; functions are bound when first called, and without a GPU none of theirs is.
"""

import ctypes
import os
import sys
from pathlib import Path

site = Path(__file__).parent
if not (site / "../../../../.libtorch/nvidia/cu13/lib/libcublas.so.13").exists():
    sys.setdlopenflags(os.RTLD_LAZY)
    for stand_in in (site / "cuda_stand_ins").glob("*.so.*"):
        ctypes.CDLL(str(stand_in))
