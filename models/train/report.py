"""The report of a training run: report.json, report.txt. In: a finished `training.Line`. Out: text, the same for the same run.

Every figure is one of `assay evaluate`; this file only puts them in order.
"""

import json

CURVES = ("roc", "precision_recall", "cost")
DECIDING = {"average_precision": "AP", "card_precision": "card precision"}


def value(line, candidate_name, source, versions):
    """report.json as a value. Curves are kept for the chosen family alone."""
    rows, settings, split = line.rows, line.settings, line.split
    known = rows.known(split.test.start)
    families = {}
    for name, candidate in line.candidates.items():
        kept = candidate.test if name == candidate_name else without_curves(candidate.test)
        families[name] = {
            "parameters": candidate.trained.parameters,
            "calibration": {
                "method": "platt",
                "slope": float(candidate.calibration.slope),
                "intercept": float(candidate.calibration.intercept),
            },
            "threshold": candidate.threshold,
            "export": candidate.verified,
            "folds": {key: candidate.folds[key] for key in ("folds", "mean", "spread")},
            "chosen_on": candidate.chosen_on["mean"],
            "test": kept,
            "importance": candidate.importance,
        }
    return {
        "family": candidate_name,
        "chosen_by": chosen_by(line, candidate_name),
        "choose_by": settings.choose_by,
        "data": {
            "source": source.about,
            "rows": len(rows.time),
            "frauds": int((rows.label == 1).sum()),
            "features": len(rows.names),
            "train": part(split.train, rows, rows.known(split.validation.start)),
            "validation": part(split.validation, rows, known),
            "test": part(split.test, rows, rows.label),
            "gap_days": settings.gap,
            "warm_up_days": settings.warm_up,
            "days_before_training": line.lead,
            "days_not_judged": int(rows.day.max()) - split.test.last,
            "folds": [{"train": str(fold.train), "validation": str(fold.validation)} for fold in line.folds],
        },
        "alerts_a_day": settings.alerts,
        "seed": settings.seed,
        "threads": settings.threads,
        "versions": versions,
        "families": families,
        "compared": [{"family": line.chosen, "against": name, **found} for name, found in line.comparisons],
    }


def chosen_by(line, name):
    """Why this family is in the package."""
    if line.settings.family == name:
        return "as asked for"
    if name != line.chosen:
        return f"written beside the chosen one, {line.chosen}"
    return f"chosen by {line.settings.choose_by}, mean of the validation periods of the folds"


def without_curves(figures):
    return {key: item for key, item in figures.items() if key not in CURVES}


def part(period, rows, label):
    inside = period.of(rows.day)
    truth = int((rows.label[inside] == 1).sum())
    return {"days": str(period), "rows": int(inside.sum()), "known_frauds": int((label[inside] == 1).sum()), "frauds": truth}


def dump(found):
    """A line for each family and each other key: readable in a diff, and curves take one line."""
    lines = [f"  {json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in found.items() if key != "families"]
    families = [f"    {json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in found["families"].items()]
    lines.append('  "families": {\n' + ",\n".join(families) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def text(found, name):
    """report.txt."""
    data, chosen = found["data"], found["families"][found["family"]]
    lines = [f"{name}: {found['family']}, {found['chosen_by']}", ""]
    lines += [f"Data: {data['source']}; {data['rows']} transactions, {data['frauds']} frauds, {data['features']} features.", ""]
    lines += table(
        ["period", "days", "rows", "frauds", "of them known"],
        [
            [key, data[key]["days"], data[key]["rows"], data[key]["frauds"], data[key]["known_frauds"]]
            for key in ("train", "validation", "test")
        ],
    )
    lines += [
        "",
        f"Between two periods lie {data['gap_days']} days, the label delay. Known: reported before the next period began; it is what",
        "training, calibration, threshold and the choice of the family see. The figures below are against every fraud.",
        warm_up(data["days_before_training"]),
        *not_judged(data["days_not_judged"]),
        "",
    ]
    lines += heading("Families: validation periods of the folds (mean ± standard deviation) and test")
    lines += table(
        [
            "family",
            f"{DECIDING[found['choose_by']]}, known then",
            *("AP, folds", "ROC AUC, folds", "card precision, folds", "AP, test", "ROC AUC, test", "card precision, test"),
        ],
        [
            [
                family,
                number(item["chosen_on"][found["choose_by"]]),
                *(spread(item["folds"], key) for key in ("average_precision", "roc_auc", "card_precision")),
                number(item["test"]["average_precision"]),
                number(item["test"]["roc_auc"]),
                number(cards(item["test"])),
            ]
            for family, item in found["families"].items()
        ],
    )
    lines += [
        "",
        "Average precision (AP), card precision at 100 as in the Fraud Detection Handbook, chapter 4.",
        f"{DECIDING[found['choose_by']]}, known then: mean over the folds with the labels that were known when the test began. It",
        "chooses the family; the other figures are against every fraud and choose nothing.",
        "",
    ]
    lines += compared(found)
    lines += heading("Folds")
    lines += table(
        ["fold", "family", "rows", "frauds", "AP", "ROC AUC", "card precision"],
        [
            [
                fold["name"],
                family,
                fold["rows"],
                fold["frauds"],
                number(fold["average_precision"]),
                number(fold["roc_auc"]),
                number(fold["card_precision"]),
            ]
            for family, item in found["families"].items()
            for fold in item["folds"]["folds"]
        ],
    )
    lines += [""] + at_threshold(found, chosen) + alerts(chosen) + kinds(chosen) + calibration(chosen) + cost(chosen)
    lines += heading("Importance: mean |contribution| to the margin on the test, and share of the gain in the model")
    lines += table(
        ["feature", "contribution", "gain"],
        [[item["feature"], number(item["contribution"], 4), number(item["gain"], 4)] for item in chosen["importance"][:30]],
    )
    lines += [""] + heading("Export")
    lines += table(
        ["family", "rows", "largest difference of a score", "rows beyond", "bar"],
        [
            [
                family,
                item["export"]["rows"],
                f"{item['export']['largest']:.2e}",
                item["export"]["beyond"],
                f"{item['export']['tolerance']:g}",
            ]
            for family, item in found["families"].items()
        ],
    )
    return "\n".join(lines) + "\n"


def compared(found):
    if not found["compared"]:
        return []
    lines = heading(
        f"{found['compared'][0]['family']} against the others: mean difference over the folds, with its bootstrap interval"
    )
    body = []
    for item in found["compared"]:
        for figure in ("average_precision", "roc_auc", "card_precision"):
            difference = item["mean"][figure] if item.get("mean") else None
            if difference:
                body.append(
                    [
                        item["against"],
                        figure,
                        f"{difference['difference']:+.4f}",
                        f"{difference['low']:+.4f} to {difference['high']:+.4f}",
                    ]
                )
    share = found["compared"][0].get("confidence", 0.95)
    return lines + table(["against", "figure", "difference", f"interval ({share:.0%})"], body) + [""]


def warm_up(days):
    if days:
        return f"The first {days} days of the data only fill windows: no row of them is trained on."
    return "Training rows begin before the longest windows are full: --warm-up-days keeps the first days from training."


def not_judged(days):
    if not days:
        return []
    return [f"The newest {days} days are in no period: the truth comes from verdicts, and theirs are not all in yet."]


def at_threshold(found, chosen):
    at = chosen["test"]["at_threshold"]
    lines = heading(f"At the threshold {chosen['threshold']:.6g}: {found['alerts_a_day']} alerts a day on the validation period")
    return (
        lines
        + table(["figure, on the test", "value"], [[key, number(item, 4)] for key, item in at.items() if key != "threshold"])
        + [""]
    )


def alerts(chosen):
    found = chosen["test"].get("alerts") or []
    body = [
        [item["a_day"], number(item["precision"]), number(item["recall"]), number(item.get("amount_recall"))] for item in found
    ]
    return (
        heading("By alerts a day, on the test")
        + table(["alerts a day", "precision", "recall", "recall of the amount"], body)
        + [""]
        if body
        else []
    )


def kinds(chosen):
    found = chosen["test"].get("kinds") or []
    body = [
        [item["kind"], item["frauds"], number(item["recall_at_threshold"]), number(item["roc_auc"]), number(item["mean_score"])]
        for item in found
    ]
    return (
        heading("By kind of fraud, on the test")
        + table(["kind", "frauds", "recall at the threshold", "ROC AUC", "mean score"], body)
        + [""]
        if body
        else []
    )


def calibration(chosen):
    found = chosen["test"]["calibration"]
    body = [
        [f"{item['from']:.4g} to {item['to']:.4g}", item["rows"], number(item["mean_score"], 5), number(item["fraud_rate"], 5)]
        for item in found["bins"]
        if item["rows"]
    ]
    lines = heading(
        f"Calibration on the test: expected error {found['expected_error']:.5f}, "
        f"Brier {chosen['test']['brier']:.5f}, log loss {chosen['test']['log_loss']:.5f}"
    )
    return lines + table(["score", "rows", "mean score", "share of fraud"], body) + [""]


def cost(chosen):
    found = chosen["test"].get("cost")
    if not found:
        return []
    best = found["best"]
    return heading(f"Cost on the test, at {found['review']:g} a review") + [
        f"Least, {best['cost']:.0f}, at the threshold {number(best['threshold'], 5)}: {number(best['alerts_a_day'], 1)} alerts a day. "
        f"Without any alert: {max(found['points'], key=lambda point: -(point['alerts_a_day'] or 0))['cost']:.0f}.",
        "",
    ]


def heading(words):
    return [words, "-" * len(words), ""]


def cards(figures):
    return (figures.get("card_precision") or {}).get("mean")


def spread(folds, key):
    mean, deviation = (folds["mean"] or {}).get(key), (folds["spread"] or {}).get(key)
    return number(mean) + (f" ± {deviation:.3f}" if deviation is not None else "")


def number(item, digits=3):
    if item is None:
        return "–"
    return f"{item:.{digits}f}" if isinstance(item, float) else str(item)


def table(head, body):
    """Left-aligned columns, numbers as given."""
    rows = [head, *([str(cell) for cell in row] for row in body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
