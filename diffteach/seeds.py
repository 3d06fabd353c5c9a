"""Seeds by name: parts of one run that draw random numbers share none of them."""

from __future__ import annotations

import hashlib


def named_seed(name: str, seed: int) -> int:
    """A seed that depends on name and seed: two names of one seed have nothing in common.

    Generators of neighbouring seeds may start alike; the digests of their names do not.
    """
    digest = hashlib.blake2b(f"{name}/{seed}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
