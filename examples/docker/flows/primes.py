"""A function that a container runs: plain Python, with nothing installed."""

import platform


def primes(below: int) -> dict:
    """Find the primes below a number, by the sieve of Eratosthenes."""
    print(f"Python {platform.python_version()} looks for the primes below {below}")
    composite = bytearray(max(below, 2))
    found = []
    for n in range(2, below):
        if not composite[n]:
            found.append(n)
            composite[n * n :: n] = b"\1" * len(range(n * n, len(composite), n))
    print(f"found {len(found)}")
    return {"below": below, "primes": len(found), "largest": found[-1] if found else None}
