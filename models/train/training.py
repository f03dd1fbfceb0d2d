"""The line of training: rows → folds of every family → the chosen one → calibrated, exported, verified, measured.

In: `Rows` and `Settings`. Out: a `Candidate` for each family, the chosen one, and all figures of the report.
Invariant: what a fold or the final model is fitted on was known when its validation began; what calibrates and what chooses was
known when the test began; the test is measured once and chooses nothing.
"""

from dataclasses import dataclass, field

import numpy as np

import calibrate
import explain
import export
import split as splitting
import verify
from fault import Fault


@dataclass(frozen=True)
class Settings:
    families: list  # classes of families.FAMILIES
    parameters: dict  # {family: {parameter: value}} other than the defaults
    family: str | None  # which becomes the package; None takes the best
    choose_by: str  # average_precision or card_precision, over the folds
    alerts: int  # alerts a day that the threshold allows
    gap: int
    warm_up: int  # first days of the data, which only fill windows
    validation: int
    test: int
    train: int | None
    folds: int
    seed: int
    threads: int


@dataclass
class Candidate:
    """One family: trained on the first fold, whose days are those of the final model."""

    trained: object
    calibration: calibrate.Platt = None
    threshold: float = None  # f32, lowest flagged score
    onnx: bytes = None
    session: export.Session = None
    verified: dict = None
    margins: dict = field(default_factory=dict)  # {fold: f64 margins of its validation rows}
    chosen_on: dict = None  # figures over the folds with the labels known when the test began: what chooses
    folds: dict = None  # figures over the folds with every label there is: what is reported
    test: dict = None  # figures of the test
    importance: list = None


@dataclass
class Line:
    """Everything between reading and writing."""

    rows: object
    settings: Settings
    split: splitting.Split
    folds: list
    candidates: dict  # {name: Candidate}
    comparisons: list = None

    @property
    def lead(self):
        """Days of the data before the first one that any fold trains on: they only fill windows."""
        return min(fold.train.first for fold in self.folds) - int(self.rows.day.min())

    @property
    def chosen(self):
        return self.settings.family or max(self.candidates, key=lambda name: self.merit(name))

    def merit(self, name):
        mean = self.candidates[name].chosen_on["mean"]
        return mean[self.settings.choose_by], mean["average_precision"]


def parts(rows, settings):
    """(split, folds); the first fold is the split's own. Fault: too few days, or a part without both classes."""
    begin, end = int(rows.day.min()), int(rows.day.max())
    first, last = begin + settings.warm_up, end - unjudged(rows, settings)
    if first > last:
        raise Fault(f"the transactions of {end - begin + 1} days are too few: the first {settings.warm_up} (--warm-up-days) only "
                    f"fill windows, and the verdicts on the last {end - last} are not in yet: give more days")  # fmt: skip
    sizes = {"gap": settings.gap, "validation": settings.validation, "train": settings.train}
    whole = splitting.by_time(first, last, test=settings.test, **sizes)
    folds = splitting.prequential(first, whole.validation.last, folds=settings.folds, **sizes)
    for number, fold in enumerate(folds, 1):
        both(f"training of fold {number}", fold.train, rows, rows.known(fold.validation.start))
        both(f"validation of fold {number}", fold.validation, rows, rows.known(whole.test.start))
    both("test", whole.test, rows, rows.label)
    return whole, folds


def unjudged(rows, settings):
    """Newest days in no period: where the truth is what was reported so far, their frauds would count as genuine."""
    return settings.gap if rows.reported else 0


def both(part, period, rows, label):
    inside = label[period.of(rows.day)]
    frauds = int((inside == 1).sum())
    if not frauds or frauds == len(inside):
        raise Fault(f"{part}, {period}: {len(inside)} rows, {frauds} of them known as fraud: both kinds are needed: "
                    "give more days, longer parts, or labels that reach that far")  # fmt: skip


def fit(rows, settings, say):
    """Trains every family on every fold."""
    whole, folds = parts(rows, settings)
    line = Line(rows, settings, whole, folds, {})
    for family in settings.families:
        for number, fold in enumerate(folds):
            train = fold.train.of(rows.day)
            trained = family.fit(rows.values[train], rows.known(fold.validation.start)[train], seed=settings.seed,
                                 parameters=settings.parameters.get(family.name), threads=settings.threads)  # fmt: skip
            candidate = line.candidates.setdefault(family.name, Candidate(trained))
            candidate.margins[number] = trained.margin(rows.values[fold.validation.of(rows.day)])
        say(f"{family.name}: trained on {len(folds)} folds")
    return line


def finish(line, name):
    """Calibrates on the validation period, exports, verifies row by row, chooses the threshold."""
    rows, settings, candidate = line.rows, line.settings, line.candidates[name]
    inside = line.split.validation.of(rows.day)
    candidate.calibration = calibrate.platt(candidate.margins[0], rows.known(line.split.test.start)[inside])
    candidate.onnx = export.onnx(candidate.trained, candidate.calibration, len(rows.names))
    candidate.session = export.Session(candidate.onnx)
    picked = verify.rows(len(rows.values))
    candidate.verified = verify.export(candidate.trained, candidate.calibration, candidate.session, rows.values[picked])
    scores = candidate.session(rows.values[inside])[0]
    candidate.threshold = calibrate.threshold(scores, line.split.validation.days, settings.alerts)


def measure(line, judge):
    """Figures of every family over the folds and on the test, and each against the chosen one over the folds."""
    rows, known = line.rows, line.rows.known(line.split.test.start)
    days = [np.flatnonzero(fold.validation.of(rows.day)) for fold in line.folds]
    names = np.concatenate([np.full(len(part), str(fold.validation)) for part, fold in zip(days, line.folds)])
    picked = np.concatenate(days)
    tested = np.flatnonzero(line.split.test.of(rows.day))
    files = {}
    for name, candidate in line.candidates.items():
        # Why without calibration: it changes no order, and there is one for the final model only.
        scores = np.concatenate([calibrate.sigmoid(candidate.margins[number]) for number in range(len(days))])
        path = judge.write(rows, picked, scores, known[picked], name=f"known-{name}", folds=names)
        candidate.chosen_on = judge.figures(path)
        files[name] = judge.write(rows, picked, scores, rows.label[picked], name=f"folds-{name}", folds=names)
        candidate.folds = judge.figures(files[name])
        path = judge.write(rows, tested, candidate.session(rows.values[tested])[0], rows.label[tested], name=f"test-{name}")
        candidate.test = judge.figures(path, candidate.threshold)
        candidate.importance = explain.importance(candidate.trained, rows.values[tested], rows.names, line.settings.seed)
    others = [name for name in line.candidates if name != line.chosen]
    line.comparisons = [(name, judge.compare(files[name], files[line.chosen], line.settings.seed)) for name in others]
