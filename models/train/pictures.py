"""The pictures of the report. In: the figures of report.json. Out: {name: bytes of a PNG}, the same for the same figures."""

import io
import pathlib
import tempfile
import os

# Why: matplotlib keeps a font cache in the user's home otherwise, and a machine may have none.
os.environ.setdefault("MPLCONFIGDIR", str(pathlib.Path(tempfile.gettempdir()) / "assay-matplotlib"))

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

DOTS = 80
WIDE, TALL = 7.2, 3.6
IMPORTANT = 20


def draw(found, curves):
    """`found`: report.value; `curves`: {family: its test figures with curves}."""
    chosen = found["families"][found["family"]]
    pictures = {
        "curves.png": drawn_curves(found["family"], curves),
        "folds.png": folds(found),
        "calibration.png": calibration(chosen["test"]),
        "importance.png": importance(chosen["importance"]),
    }
    if chosen["test"].get("alerts"):
        pictures["alerts.png"] = alerts(chosen["test"])
    if chosen["test"].get("cost"):
        pictures["cost.png"] = cost(chosen["test"]["cost"])
    if chosen["test"].get("kinds"):
        pictures["kinds.png"] = kinds(chosen["test"]["kinds"])
    return pictures


def axes(columns=1, height=TALL):
    figure, found = plt.subplots(1, columns, figsize=(WIDE, height), layout="constrained", squeeze=False)
    for place in found[0]:
        place.grid(alpha=0.25, linewidth=0.6)
        place.spines[["top", "right"]].set_visible(False)
    return figure, list(found[0])


def png(figure):
    buffer = io.BytesIO()
    # No software and no date in the file: its bytes depend on the figures alone.
    figure.savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None}, pil_kwargs={"optimize": True})
    plt.close(figure)
    return buffer.getvalue()


def drawn_curves(family, curves):
    figure, (roc, recall) = axes(2)
    for name, test in curves.items():
        width = 2.0 if name == family else 1.0
        roc.plot(*zip(*test["roc"]), linewidth=width, label=f"{name} {test['roc_auc']:.3f}")
        recall.plot(*zip(*test["precision_recall"]), linewidth=width, label=f"{name} {test['average_precision']:.3f}")
    roc.set(xlabel="false positive rate", ylabel="recall", title="ROC", xlim=(0, 1), ylim=(0, 1.01))
    recall.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1), ylim=(0, 1.01))
    for place in (roc, recall):
        place.legend(fontsize=7, frameon=False, loc="lower right" if place is roc else "lower left")
    return png(figure)


def folds(found):
    figure, places = axes(3)
    for place, key, title in zip(
        places, ("average_precision", "roc_auc", "card_precision"), ("Average precision", "ROC AUC", "Card precision")
    ):
        for name, item in found["families"].items():
            points = [(fold["name"].split("..")[0][5:], fold[key]) for fold in item["folds"]["folds"] if fold[key] is not None]
            points.sort()
            if points:
                place.plot(*zip(*points), marker="o", markersize=3, linewidth=1, label=name)
        place.set(title=title)
        place.tick_params(axis="x", labelsize=7, rotation=30)
    places[0].legend(fontsize=7, frameon=False)
    places[0].set_xlabel("first day of the validation period", fontsize=8)
    return png(figure)


def calibration(test):
    figure, (place,) = axes()
    bins = [item for item in test["calibration"]["bins"] if item["rows"]]
    place.plot([1e-4, 1], [1e-4, 1], color="0.6", linewidth=1, linestyle="--", label="score = share of fraud")
    shown = [(item["mean_score"], item["fraud_rate"]) for item in bins if item["fraud_rate"] > 0 and item["mean_score"] > 0]
    place.plot(*zip(*shown), marker="o", markersize=4, linewidth=1, label="test")
    place.set(xscale="log", yscale="log", xlabel="mean score", ylabel="share of fraud", title="Calibration on the test")
    place.legend(fontsize=8, frameon=False)
    return png(figure)


def alerts(test):
    figure, (place,) = axes()
    days = [item["a_day"] for item in test["alerts"]]
    for key in ("precision", "recall", "amount_recall"):
        points = [(day, item[key]) for day, item in zip(days, test["alerts"]) if item.get(key) is not None]
        if points:
            place.plot(
                *zip(*points), marker="o", markersize=3, linewidth=1.2, label=key.replace("amount_recall", "recall of the amount")
            )
    place.set(xscale="log", xlabel="alerts a day", title="By alerts a day, on the test", ylim=(0, 1.01))
    place.set_xticks(days, [str(day) for day in days], fontsize=7)
    place.minorticks_off()
    place.legend(fontsize=8, frameon=False)
    return png(figure)


def cost(found):
    figure, (place,) = axes()
    points = [point for point in found["points"] if point["alerts_a_day"]]
    place.plot([point["alerts_a_day"] for point in points], [point["cost"] for point in points], linewidth=1.2)
    best = found["best"]
    if best["alerts_a_day"]:
        place.plot([best["alerts_a_day"]], [best["cost"]], marker="o", color="C3")
    place.set(xscale="log", yscale="log", xlabel="alerts a day", ylabel="cost",
              title=f"Missed frauds and reviews at {found['review']:g} each, on the test")  # fmt: skip
    return png(figure)


def importance(found):
    shown = found[:IMPORTANT][::-1]
    figure, places = axes(2, height=0.19 * len(shown) + 0.9)
    places[0].barh([item["feature"] for item in shown], [item["contribution"] for item in shown])
    places[0].set_title("mean |contribution|", fontsize=9)
    places[1].barh([item["feature"] for item in shown], [item["gain"] or 0.0 for item in shown], color="C1")
    places[1].set_title("share of gain" if shown[0]["gain"] is not None else "no gain in this family", fontsize=9)
    places[1].set_yticklabels([])
    for place in places:
        place.tick_params(labelsize=7)
    return png(figure)


def kinds(found):
    figure, (place,) = axes()
    for item in found:
        points = [(at["a_day"], at["recall"]) for at in item["recall_at_alerts"] or []]
        if points:
            place.plot(*zip(*points), marker="o", markersize=3, linewidth=1.2, label=f"{item['kind']} ({item['frauds']})")
    place.set(xscale="log", xlabel="alerts a day", ylabel="recall", title="Recall by kind of fraud, on the test", ylim=(0, 1.01))
    place.legend(fontsize=8, frameon=False)
    return png(figure)
