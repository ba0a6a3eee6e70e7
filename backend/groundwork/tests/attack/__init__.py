"""Attacks on the real service over real sockets: `make test-attack`. The README here has scenarios and figures."""

import os

# The size of every scenario, as a multiple of its default: 0.1 is a tenth.
SCALE = float(os.environ.get("ATTACK_SCALE", "1"))
SEED = int(os.environ.get("ATTACK_SEED", "1"))


def scaled(number: int) -> int:
    return max(1, round(number * SCALE))
