"""Writes orders.csv, the input of flows/heavy_etl.py: the same bytes on every machine and with every Python.

    python3 generate_orders.py [FILE]
"""

import csv
import os
import random
import sys
import tempfile

ROWS = 100_000
SEED = 20_240_607
REGIONS = ("africa", "americas", "asia", "europe", "oceania")
PRODUCTS = ("bolt", "gear", "lever", "pulley", "spring", "valve")
HEADER = ("order_id", "region", "product", "quantity", "unit_price_cents")


def orders(rows: int = ROWS, seed: int = SEED):
    """Yields the orders. Only random() is used: its sequence for a seed is the one that Python promises to keep."""
    rng = random.Random(seed)

    def below(n: int) -> int:
        return int(rng.random() * n)

    for order_id in range(1, rows + 1):
        yield order_id, REGIONS[below(len(REGIONS))], PRODUCTS[below(len(PRODUCTS))], 1 + below(20), 50 + below(20_000)


def write(path: str, rows: int = ROWS, seed: int = SEED) -> None:
    """Writes the orders to path. Whoever reads path meanwhile sees the whole file or none."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    fd, part = tempfile.mkstemp(prefix=".orders-", suffix=".csv", dir=folder)
    try:
        with os.fdopen(fd, "w", newline="", encoding="utf-8") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(HEADER)
            out.writerows(orders(rows, seed))
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else os.path.join("data", "orders.csv"))
