"""The log of `assay serve` (SQLite, docs/ARCHITECTURE.md) as files in the canonical form.

In: the log, opened for reading only; the server may run meanwhile. Out: transactions (Parquet) and verdicts (NDJSON).
"""

import datetime
import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq

from fault import Fault

TEXT = ("transaction_id", "customer_id", "terminal_id", "currency",
        "merchant_id", "product_id", "country", "channel", "card_id", "device_id")  # fmt: skip
ROWS_AT_ONCE = 65_536


def export(path, transactions, labels):
    """Writes both files; returns (number of transactions, day of the first, day of the last). Fault: no log, or an empty one."""
    if not path.is_file():
        raise Fault(f"{path}: there is no such log: --store names the file that store.path of the configuration names")
    log = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        # One transaction, so that both tables are read as of the same moment.
        log.execute("BEGIN")
        count, first, last = log.execute("SELECT count(*), min(occurred_at), max(occurred_at) FROM transactions").fetchone()
        verdicts = log.execute("SELECT count(*) FROM labels").fetchone()[0]
        if not count or not verdicts:
            raise Fault(f"{path}: the log holds {count} transactions and {verdicts} labels: there is nothing to learn")
        write_transactions(log, transactions)
        write_labels(log, labels)
    except sqlite3.DatabaseError as error:
        raise Fault(f"{path}: is no log of assay, or of another version: {error}") from error
    finally:
        log.close()
    return count, day(first), day(last)


def write_transactions(log, target):
    time = pa.timestamp("ms", tz="UTC")
    schema = pa.schema([("occurred_at", time), ("amount_minor", pa.int64()), *((name, pa.string()) for name in TEXT)])
    found = log.execute(f"SELECT {', '.join(schema.names)} FROM transactions ORDER BY occurred_at, transaction_id")
    with pq.ParquetWriter(target, schema) as writer:
        while chunk := found.fetchmany(ROWS_AT_ONCE):
            columns = [pa.array(column, type=field.type) for column, field in zip(zip(*chunk), schema)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_labels(log, target):
    found = log.execute("SELECT transaction_id, is_fraud, labelled_at, source FROM labels "
                        "ORDER BY labelled_at, transaction_id, is_fraud, source")  # fmt: skip
    with target.open("w", encoding="utf-8") as lines:
        for transaction, fraud, at, source in found:
            verdict = {"transaction_id": transaction, "is_fraud": bool(fraud), "labelled_at": at, "source": source}
            lines.write(json.dumps(verdict) + "\n")


def day(milliseconds):
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc).strftime("%Y-%m-%d")
