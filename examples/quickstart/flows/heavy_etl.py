"""An ETL that does its work: a CSV of 100,000 orders, cleaned and loaded into SQLite, then summed up per region."""

import contextlib
import csv
import itertools
import os
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(HERE)
BATCH = 20_000  # rows inserted at once; each batch is a line of the log


def heavy_etl_flow(source: str = "data/orders.csv", database: str = "") -> dict:
    """Loads source into database and returns the totals, money in cents.

    A source that does not exist is generated first. Without a database a temporary one is used and removed.
    """
    began = time.monotonic()
    path = source if os.path.isabs(source) else os.path.join(PROJECT, source)
    extract(path)
    with tempfile.TemporaryDirectory(prefix="heavy-etl-") as scratch:
        with contextlib.closing(sqlite3.connect(database or os.path.join(scratch, "orders.db"))) as db:
            load(db, path)
            totals = summarize(db)
    print(f"done: {totals['orders']:,} orders in {time.monotonic() - began:.1f} s")
    return totals


def extract(path: str) -> None:
    """Makes sure that there is something to load."""
    if os.path.exists(path):
        print(f"extract: {path} is there")
        return
    print(f"extract: generating {path}")
    sys.path.insert(0, PROJECT)
    try:
        import generate_orders
    finally:
        sys.path.remove(PROJECT)
    generate_orders.write(path)


def load(db: sqlite3.Connection, path: str) -> None:
    """Replaces the table of orders by what path has, in one transaction."""
    with db, open(path, newline="", encoding="utf-8") as f:
        db.execute("DROP TABLE IF EXISTS orders")
        db.execute(
            "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, region TEXT NOT NULL, product TEXT NOT NULL,"
            " quantity INTEGER NOT NULL CHECK (quantity > 0), amount_cents INTEGER NOT NULL)"
        )
        rows = csv.DictReader(f)
        loaded = 0
        while batch := [order(row) for row in itertools.islice(rows, BATCH)]:
            db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", batch)
            loaded += len(batch)
            print(f"load: {loaded:,} rows")


def order(row: dict) -> tuple:
    """Turns a row of text into a row of the table."""
    quantity = int(row["quantity"])
    return int(row["order_id"]), row["region"], row["product"], quantity, quantity * int(row["unit_price_cents"])


def summarize(db: sqlite3.Connection) -> dict:
    """Sums up what is in the table."""
    count, amount = db.execute("SELECT count(*), coalesce(sum(amount_cents), 0) FROM orders").fetchone()
    regions = {}
    for region, orders, cents in db.execute("SELECT region, count(*), sum(amount_cents) FROM orders GROUP BY region ORDER BY region"):
        print(f"summarize: {region:<10} {orders:>7,} orders {cents / 100:>16,.2f}")
        regions[region] = {"orders": orders, "amount_cents": cents}
    return {"orders": count, "amount_cents": amount, "regions": regions}
