#!/usr/bin/env bash
# Makes models/fraud/1 again: simulated payments, their complete features, then 100 trees of depth 6 and the package.
# Seeded: the same tree of files makes the same model. Python packages go to .cache/train, pinned in
# models/train/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

work=.cache/model
mkdir -p "$work"

if [ ! -x .cache/train/bin/python ]; then python3 -m venv .cache/train; fi
.cache/train/bin/python -m pip install --quiet --requirement models/train/requirements.txt

# 90 days, so that the longest windows with their delay are full for the rows that are trained on.
target/release/assay simulate --seed 1 --days 90 --out "$work/transactions.parquet" --labels "$work/labels.ndjson"
target/release/assay features --connector canonical --input "$work/transactions.parquet" --labels "$work/labels.ndjson" \
  --output "$work/features.parquet" --keep occurred_at,customer_id,is_fraud
.cache/train/bin/python models/train/package.py --input "$work/features.parquet" --output models/fraud/1 \
  --data "90 days of payments simulated with seed 1"
