"""Trains a fraud model on a feature file and writes it as a package that assay loads.

In:  a Parquet file of `assay features`: transaction_id, occurred_at, is_fraud, and the features by their catalogue names.
Out: a folder with model.onnx, manifest.toml, golden.json, baseline.json.

    assay features --input transactions.parquet --output features.parquet --keep occurred_at,is_fraud
    .cache/train/bin/python models/train/package.py --input features.parquet --output models/fraud/1

The newest rows are the test, those before them choose the threshold, and between training and either lies a gap as long
as labels take to arrive: what is learnt is what was known. The same file and seed give the same bytes on one machine.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from onnxmltools.convert import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import average_precision_score, roc_auc_score

from document import baseline, golden, manifest

# Columns of the feature file that describe a row and are no features.
DESCRIPTIVE = {
    "transaction_id", "occurred_at", "is_fraud", "customer_id", "terminal_id", "merchant_id", "product_id",
    "amount_minor", "currency", "country", "channel", "card_id", "device_id",
}  # fmt: skip
DAY = 86_400_000
# The export computes in f32 what XGBoost computes in f32, in another order: a few units in the last place.
EXPORT_TOLERANCE = 1e-5
GOLDEN_ROWS = 96


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, type=pathlib.Path, help="Parquet file of `assay features`")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="folder of the package: models/<name>/<version>")
    parser.add_argument("--features", help="inputs in order, a,b,c; default: every feature column, in the file's order")
    parser.add_argument("--name", help="default: the name of the folder above --output")
    parser.add_argument("--version", help="default: the name of --output")
    parser.add_argument("--data", default="assay simulate", help="what the data is, for the manifest")
    parser.add_argument("--created", help="RFC 3339; default: the time of the newest row, so that the bytes repeat")
    parser.add_argument("--label-delay-days", type=int, default=7, help="gap after training (default 7)")
    parser.add_argument("--validation-days", type=int, default=7, help="days that choose the threshold (default 7)")
    parser.add_argument("--test-days", type=int, default=7, help="newest days, only measured (default 7)")
    parser.add_argument("--alerts-per-day", type=int, default=100, help="alerts a day that the threshold allows (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def read(path, wanted):
    """The file as (names of features, f32 matrix, labels, occurred_at in ms), in order of time."""
    table = pq.read_table(path)
    for name in ("transaction_id", "occurred_at", "is_fraud"):
        if name not in table.column_names:
            sys.exit(f"{path}: the column {name} is missing: write the file with --keep occurred_at,is_fraud")
    names = wanted.split(",") if wanted else [name for name in table.column_names if name not in DESCRIPTIVE]
    missing = [name for name in names if name not in table.column_names]
    if missing or not names:
        sys.exit(f"{path}: no such feature columns: {', '.join(missing) or '(none at all)'}")
    if table["is_fraud"].null_count:
        sys.exit(f"{path}: is_fraud is null in {table['is_fraud'].null_count} rows: every row needs its label")
    time = milliseconds(table["occurred_at"])
    label = table["is_fraud"].cast(pa.int8()).to_numpy().astype(np.int8)
    columns = [table[name].cast(pa.float64(), safe=False).to_numpy().astype(np.float32) for name in names]
    values = np.column_stack(columns)
    if not np.isfinite(values).all():
        sys.exit(f"{path}: a feature is not finite: {names[int(np.argwhere(~np.isfinite(values))[0, 1])]}")
    ids = np.array(table["transaction_id"].cast(pa.string()).to_pylist())
    order = np.lexsort((ids, time))
    return names, values[order], label[order], time[order]


def milliseconds(column):
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        parse = datetime.datetime.fromisoformat
        return np.array([round(parse(text).timestamp() * 1000) for text in column.to_pylist()], dtype=np.int64)
    return column.cast(pa.int64()).to_numpy()


def split(time, options):
    """Masks of training, validation and test, by whole UTC days from the newest back."""
    day = time // DAY
    test = day.max() - options.test_days + 1
    validation = test - options.validation_days
    train = day < validation - options.label_delay_days
    return {"train": train, "validation": (day >= validation) & (day < test), "test": day >= test}


def train(values, label, seed):
    model = xgboost.XGBClassifier(
        n_estimators=100, max_depth=6, learning_rate=0.1, tree_method="hist", subsample=0.8, colsample_bytree=0.8,
        objective="binary:logistic", random_state=seed, n_jobs=2, base_score=0.5,
    )  # fmt: skip
    return model.fit(values, label)


def export(model, width):
    """ONNX with one f32 input [N, width] and the outputs label and probabilities [N, 2]: no scaler, no zipmap."""
    model.get_booster().feature_names = None
    graph = convert_xgboost(model, initial_types=[("input", FloatTensorType([None, width]))], target_opset=15)
    graph.graph.name = "fraud"
    return graph.SerializeToString(deterministic=True)


def choose_threshold(scores, days, alerts):
    """The lowest score that would have raised at most `alerts` a day over `days` days, halfway to the next lower one."""
    ranked = np.sort(scores)[::-1]
    count = min(alerts * days, len(ranked) - 1)
    return float(np.float32((float(ranked[count - 1]) + float(ranked[count])) / 2)) if count else float(ranked[0])


def measure(scores, label, threshold):
    flagged = scores >= np.float32(threshold)
    caught = int((flagged & (label == 1)).sum())
    return {
        "rows": int(len(label)),
        "frauds": int(label.sum()),
        "flagged": int(flagged.sum()),
        "roc_auc": round(float(roc_auc_score(label, scores)), 6),
        "average_precision": round(float(average_precision_score(label, scores)), 6),
        "precision": round(caught / max(int(flagged.sum()), 1), 6),
        "recall": round(caught / max(int(label.sum()), 1), 6),
    }


def day(milliseconds_):
    return datetime.datetime.fromtimestamp(int(milliseconds_) / 1000, datetime.timezone.utc).strftime("%Y-%m-%d")


def main():
    options = arguments()
    names, values, label, time = read(options.input, options.features)
    parts = split(time, options)
    for part, mask in parts.items():
        if len(np.unique(label[mask])) < 2:
            sys.exit(f"{part}: {int(mask.sum())} rows without both frauds and others: give a longer file, or shorter parts")
    model = train(values[parts["train"]], label[parts["train"]], options.seed)
    onnx = export(model, len(names))

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    scores = session.run(["probabilities"], {"input": values})[0][:, 1]
    off = np.abs(scores - model.predict_proba(values)[:, 1])
    if off.max() > EXPORT_TOLERANCE:
        sys.exit(f"export: {int((off > EXPORT_TOLERANCE).sum())} rows score otherwise than in XGBoost, by up to {off.max()}")

    threshold = choose_threshold(scores[parts["validation"]], options.validation_days, options.alerts_per_day)
    figures = {part: measure(scores[mask], label[mask], threshold) for part, mask in parts.items()}
    figures["export_difference"] = float(off.max())
    parameters = {
        "algorithm": "xgboost", "trees": 100, "depth": 6, "learning_rate": 0.1, "seed": options.seed,
        "label_delay_days": options.label_delay_days,
    }  # fmt: skip
    periods = {part: f"{day(time[mask][0])}..{day(time[mask][-1])}" for part, mask in parts.items()}
    created = options.created or datetime.datetime.fromtimestamp(
        int(time[-1]) // 1000, datetime.timezone.utc
    ).strftime("%Y-%m-%dT%H:%M:%SZ")
    folder = options.output
    texts = {
        "golden.json": golden(values, scores, parts["test"], GOLDEN_ROWS, EXPORT_TOLERANCE, options.seed),
        "baseline.json": baseline(names, values[parts["train"]], scores[parts["train"]]),
        "manifest.toml": manifest(
            name=options.name or folder.resolve().parent.name,
            version=options.version or folder.resolve().name,
            created=created,
            sha256=hashlib.sha256(onnx).hexdigest(),
            features=names,
            threshold=threshold,
            chosen=f"{options.alerts_per_day} alerts a day on {periods['validation']}",
            data=f"{options.data}: trained on {periods['train']}, threshold from {periods['validation']}, "
            f"tested on {periods['test']}",
            parameters=parameters,
            figures=figures,
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "model.onnx", onnx)
    # The manifest comes last: a folder without it is no package.
    for name, text in texts.items():
        write(folder / name, text.encode())
    print(json.dumps({"package": str(folder), "threshold": threshold, "periods": periods, "figures": figures}, indent=2))


def write(path, content):
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)


if __name__ == "__main__":
    main()
