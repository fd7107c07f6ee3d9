#!/usr/bin/env python3
"""Compare a TorchScript file of `reglab export NET -o FILE.pt --example FILE.safetensors` with what reglab computed.

usage: python scripts/check_export.py FILE.pt FILE.safetensors
"""

import sys

import torch
from safetensors.torch import load_file

TOLERANCE = 1e-5


def main(network: str, example: str) -> int:
    module = torch.jit.load(network).eval()
    tensors = load_file(example)
    with torch.no_grad():
        together = module(tensors["x"])
        one_by_one = torch.cat([module(x.unsqueeze(0)) for x in tensors["x"]])
    difference = max((y - tensors["y"]).abs().max().item() for y in (together, one_by_one))
    print(f"{network}: largest difference {difference:.2e}, allowed {TOLERANCE:.0e}")
    return 0 if difference <= TOLERANCE else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
