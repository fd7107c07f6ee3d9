#!/usr/bin/env python3
"""Write src/data/digits.bin.gz: the labels, then the 8x8 pixels (0..16), one byte each, in the order of scikit-learn's load_digits.

usage: make_digits.py [FILE]      needs: scikit-learn
"""
import gzip
import sys

import numpy
from sklearn.datasets import load_digits

digits = load_digits()
labels, pixels = digits.target.astype(numpy.uint8), digits.data.astype(numpy.uint8)
assert labels.shape == (1797,) and pixels.shape == (1797, 64) and pixels.max() == 16
assert (pixels == digits.data).all()
packed = gzip.compress(labels.tobytes() + pixels.tobytes(), compresslevel=9, mtime=0)
path = sys.argv[1] if len(sys.argv) > 1 else "src/data/digits.bin.gz"
with open(path, "wb") as file:
    file.write(packed)
print(f"{path}: {len(packed)} bytes")
