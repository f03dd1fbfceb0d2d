"""Where the transactions come from: the simulator, a file, or the log of a running or stopped `assay serve`.

In: the command's options. Out: a `Source`, files that `assay features` reads.
"""

import dataclasses
import json
import pathlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import assay
import store
from fault import Fault
from split import DAY

FEATURE_DELAY = 7
"""Days after which the catalogue's features count a fraud as known (schemas/features.toml)."""


@dataclass(frozen=True)
class Source:
    """Files of transactions and verdicts, and how they speak."""

    transactions: pathlib.Path
    labels: pathlib.Path | None
    connector: str
    about: str
    """What the data is, for the manifest."""
    options: tuple = ()
    """Further words for `assay features` and `assay score`."""

    def kinds(self):
        """{transaction_id: kind of fraud}: a column of a Parquet file, else a key of the verdicts, named fraud_kind."""
        if self.transactions.suffix == ".parquet":
            present = pq.read_schema(self.transactions).names
            if "fraud_kind" in present and "transaction_id" in present:
                table = pq.read_table(self.transactions, columns=["transaction_id", "fraud_kind"])
                pairs = zip(table["transaction_id"].to_pylist(), table["fraud_kind"].to_pylist())
                return {transaction: kind for transaction, kind in pairs if kind}
        if not self.labels:
            return {}
        with self.labels.open(encoding="utf-8") as lines:
            verdicts = [json.loads(line) for line in lines if '"fraud_kind"' in line]
        return {verdict["transaction_id"]: verdict["fraud_kind"] for verdict in verdicts if verdict["fraud_kind"]}


def connector(name):
    """A mapping file as the program finds it from its own folder; the name of a shipped one stays."""
    return str(pathlib.Path(name).resolve()) if name.endswith(".toml") else name


def with_late_verdicts(source, work, delay_days):
    """The source as `assay features` is to read it: where is_fraud alone says what is fraud, the program counts it as known after
    the feature's own delay; where labels take longer, they are written as verdicts that come `delay_days` after."""
    if source.labels or delay_days <= FEATURE_DELAY:
        return source
    path, labels = work / "truth.parquet", work / "truth.ndjson"
    assay.features(source, path, names=["is_night"], keep=("occurred_at", "is_fraud"))
    table = pq.read_table(path, columns=["transaction_id", "occurred_at", "is_fraud"])
    table = table.filter(pc.fill_null(table["is_fraud"], False)).sort_by("occurred_at")
    if not table.num_rows:
        return source
    at = pc.add(table["occurred_at"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()), delay_days * DAY)
    with labels.open("w", encoding="utf-8") as lines:
        for transaction, moment in zip(table["transaction_id"].to_pylist(), at.to_pylist()):
            lines.write(json.dumps({"transaction_id": transaction, "is_fraud": True, "labelled_at": moment}) + "\n")
    return dataclasses.replace(source, labels=labels)


def of(options, work):
    """The source that the options name; what is made for it goes to the folder `work`."""
    rates = options.rates.resolve() if options.rates else None
    reference = options.reference.resolve() if options.reference else None
    named = (("--rates", rates), ("--reference", reference), ("--base-currency", options.base_currency))
    more = tuple(word for pair in named if pair[1] for word in pair)
    if options.input and options.store:
        raise Fault("--input and --store exclude each other: the transactions come from one place")
    if options.store:
        transactions, labels = work / "transactions.parquet", work / "labels.ndjson"
        count, first, last = store.export(options.store, transactions, labels)
        return Source(transactions, labels, "canonical", f"{count} transactions of the log, {first} to {last}", more)
    if options.input:
        for path in (options.input, options.labels, options.rates):
            if path and not path.is_file():
                raise Fault(f"{path}: there is no such file")
        labels = options.labels.resolve() if options.labels else None
        return Source(options.input.resolve(), labels, connector(options.connector), f"the file {options.input.name}", more)
    transactions, labels = work / "transactions.parquet", work / "labels.ndjson"
    assay.simulate(transactions, labels, days=options.days, customers=options.customers, seed=options.seed)
    about = f"payments simulated: {options.days} days, {options.customers} customers, seed {options.seed}"
    return Source(transactions, labels, "canonical", about, more)
