"""Figures of scores by `assay evaluate`: a file is written, the program reads it. Nothing is computed here.

In: rows, a mask, scores. Out: what `assay evaluate --json` says (docs/TRAINING.md has its keys).
"""

import pyarrow as pa
import pyarrow.parquet as pq

import assay

KIND, FOLD = "fraud_kind", "fold"
CURVE = 200
"""Points of a curve that is drawn."""


class Judge:
    """`folder` takes the files; `alerts` are the alerts a day of interest; `review` is what looking at one alert costs, in units of
    the base currency `currency`."""

    def __init__(self, folder, alerts, review, currency="EUR"):
        self.folder, self.alerts, self.review, self.currency = folder, alerts, review, currency

    def write(self, rows, picked, scores, label, *, name, folds=None):
        """`picked`: row numbers, `scores` and `label` theirs, of 0 to 1; `folds`: their fold's name. Returns the file."""
        columns = {
            "transaction_id": pa.array(rows.transaction[picked]),
            "occurred_at": pa.array(rows.time[picked], type=pa.timestamp("ms", tz="UTC")),
            "customer_id": pa.array(rows.customer[picked]),
            "base_amount_minor": pa.array(rows.amount[picked]),
            "is_fraud": pa.array(label == 1),
            "score": pa.array(scores.astype("float64")),
        }
        if rows.has_kinds:
            columns[KIND] = pa.array([kind or None for kind in rows.kind[picked]], type=pa.string())
        if folds is not None:
            columns[FOLD] = pa.array(folds)
        path = self.folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    def figures(self, path, threshold=None):
        columns = pq.read_schema(path).names
        kind, fold = (name if name in columns else None for name in (KIND, FOLD))
        return assay.evaluate(
            path, threshold=threshold, alerts=self.alerts, review=self.review, curve=CURVE, kind=kind, fold=fold,
            currency=self.currency,
        )  # fmt: skip

    def compare(self, first, second, seed):
        """second − first over the folds, with bootstrap intervals; the files' places are left out, they say nothing."""
        found = assay.compare(first, second, seed=seed, fold=FOLD)
        return {key: item for key, item in found.items() if key not in ("a", "b")}
