"""A feature file and what is known of its rows, as arrays.

In: the Parquet file of `assay features`, verdicts (NDJSON) where there are some, kinds of fraud where they are known.
Out: `Rows`, in order of time. Invariant: every value is finite and fits a 32-bit float, which is what a model is given.
"""

import datetime
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fault import Fault
from split import DAY

# Columns of the feature file that say what a row is. All others are features.
DESCRIPTIVE = ("transaction_id", "occurred_at", "is_fraud", "customer_id", "base_amount_minor")


@dataclass
class Verdicts:
    """Every verdict on a row, in order of (row, time, verdict): who comes last wins, and at the same moment fraud wins."""

    row: np.ndarray
    labelled_at: np.ndarray
    is_fraud: np.ndarray

    def newest(self, rows, moment):
        """The verdict in force at `moment` (ms) for each of `rows` rows; 0 where there is none yet."""
        label = np.zeros(rows, dtype=np.int8)
        given = self.labelled_at <= moment
        # Assigned in order, so that the last one stays.
        label[self.row[given]] = self.is_fraud[given]
        return label


@dataclass
class Rows:
    """N transactions with F features."""

    names: list  # F names of the catalogue
    values: np.ndarray  # f32 [N, F]
    time: np.ndarray  # i64 [N], ms since the epoch
    transaction: np.ndarray  # str [N]
    customer: np.ndarray  # str [N]
    amount: np.ndarray  # i64 [N], minor units of the base currency
    label: np.ndarray  # i8 [N], what the row is measured against: is_fraud of the file, where it is null the newest verdict
    kind: np.ndarray  # str [N], kind of fraud; "" where there is none
    verdicts: Verdicts | None  # without them, is_fraud counts as known `delay` after its transaction
    delay: int  # ms
    reported: bool = False  # label is what was reported so far, for all rows or some: a new fraud looks genuine in it

    @property
    def day(self):
        return self.time // DAY

    @property
    def has_kinds(self):
        return bool((self.kind != "").any())

    def known(self, moment):
        """Labels (i8 [N]) as they were known at `moment` (ms). What nobody reported by then counts as genuine."""
        if self.verdicts is not None:
            return self.verdicts.newest(len(self.time), moment)
        return np.where(self.time + self.delay <= moment, self.label, 0).astype(np.int8)


def rows(path, *, labels=None, kinds=None, delay_days=7):
    """Reads `path`. `labels`: file of verdicts; `kinds`: {transaction_id: kind of fraud}. Fault: what is missing, by name."""
    table = pq.read_table(path)
    for name in DESCRIPTIVE:
        if name not in table.column_names:
            raise Fault(f"{path}: the column {name} is missing: write the file with --keep {','.join(DESCRIPTIVE[1:])}")
    names = [name for name in table.column_names if name not in DESCRIPTIVE]
    if not names:
        raise Fault(f"{path}: there is no feature column")
    if table.num_rows == 0:
        raise Fault(f"{path}: there is no row")
    time = milliseconds(table["occurred_at"])
    ids = texts(table["transaction_id"])
    order = np.lexsort((ids, time))
    ids, time = ids[order], time[order]
    values = matrix(path, table, names, order)
    verdicts = read_verdicts(labels, ids) if labels else None
    truth = table["is_fraud"]
    if truth.null_count and verdicts is None:
        raise Fault(f"{path}: is_fraud is null in {truth.null_count} of {table.num_rows} rows: "
                    "every row needs its label, or give the verdicts with --labels")  # fmt: skip
    label = truth.cast(pa.int8()).fill_null(0).to_numpy().astype(np.int8)[order]
    if truth.null_count:
        unknown = truth.is_null().to_numpy()[order]
        label[unknown] = verdicts.newest(len(ids), np.iinfo(np.int64).max)[unknown]
    if verdicts is None and not truth.null_count and not label.any():
        raise Fault(f"{path}: no row is labelled as fraud: there is nothing to learn")
    amount = table["base_amount_minor"].cast(pa.int64()).to_numpy()[order]
    kind = np.array([""] * len(ids), dtype=object)
    if kinds:
        kind = np.array([kinds.get(transaction) or "" for transaction in ids], dtype=object)
    customer = texts(table["customer_id"])[order]
    reported = truth.null_count > 0
    return Rows(names, values, time, ids, customer, amount, label, kind, verdicts, delay_days * DAY, reported)


def matrix(path, table, names, order):
    values = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        column = table[name]
        if column.null_count:
            raise Fault(f"{path}: {name} is null in {column.null_count} rows: a feature always has a value")
        with np.errstate(over="ignore"):
            values[:, index] = column.to_numpy().astype(np.float32)[order]
        if not np.isfinite(values[:, index]).all():
            raise Fault(f"{path}: {name} is not finite as a 32-bit float in row {int(np.argmin(np.isfinite(values[:, index])))}")
    return values


def read_verdicts(path, ids):
    """Verdicts on the transactions `ids`; those on others are left out."""
    place = {transaction: row for row, transaction in enumerate(ids)}
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                verdict = json.loads(line)
                row = place.get(verdict["transaction_id"])
                if row is not None:
                    found.append((row, moment(verdict["labelled_at"]), int(bool(verdict["is_fraud"]))))
            except (ValueError, KeyError, TypeError) as error:
                raise Fault(
                    f"{path}, line {number}: no verdict with transaction_id, is_fraud and labelled_at: {error!r}"
                ) from error
    if not found:
        raise Fault(f"{path}: no verdict on any of the {len(ids)} transactions: are these the labels of this file?")
    row, at, fraud = np.array(sorted(found), dtype=np.int64).T
    return Verdicts(row, at, fraud.astype(np.int8))


def moment(value):
    """RFC 3339 text or integer ms → ms since the epoch."""
    if isinstance(value, int):
        return value
    return round(datetime.datetime.fromisoformat(value).timestamp() * 1000)


def texts(column):
    return column.cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)


def milliseconds(column):
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False)
    return column.cast(pa.int64()).to_numpy().astype(np.int64)
