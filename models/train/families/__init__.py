"""The kinds of model that can be trained. Each module has one class, and all classes have the same face:

name, tolerance              bar of the export: largest difference of a probability from the trainer's
splits                       True where a float at a split may send a row the other way (trees)
explanation_method           tree_shap, linear_shap or permutation_shapley, as the manifest says it
defaults                     parameters and their values
fit(values, label, *, seed, parameters, threads)     values f32 [N, F], label i8 [N] → a trained one:
  .parameters                what it was trained with, for the manifest
  .margin(values)            log-odds by the trainer's own prediction, f64 [N]
  .graph()                   (nodes, initializers) of the graph from `input` to `margin`
  .explanation()             explanation.json as a value; None where the method needs none
  .contributions(values)     (baseline, f64 [N, F]) that add up to the margin; None where there is no exact one
  .gain()                    importance of each feature inside the model, f64 [F] that adds up to 1; None where there is none
"""

from families.lightgbm import LightGBM
from families.logistic import Logistic
from families.mlp import Mlp
from families.xgboost import XGBoost
from fault import Fault

FAMILIES = {family.name: family for family in (XGBoost, LightGBM, Logistic, Mlp)}


def chosen(text):
    """`all`, or names by comma → the classes in that order."""
    names = list(FAMILIES) if text == "all" else text.split(",")
    for name in names:
        if name not in FAMILIES:
            raise Fault(f"there is no family {name!r}: give all, or some of {', '.join(FAMILIES)}")
    return [FAMILIES[name] for name in names]


def settings(pairs):
    """["xgboost.max_depth=8"] → {"xgboost": {"max_depth": 8}}; the value is read as the default's kind."""
    found = {name: {} for name in FAMILIES}
    for pair in pairs:
        name, dot, rest = pair.partition(".")
        key, equals, value = rest.partition("=")
        kinds = {**FAMILIES[name].defaults, **getattr(FAMILIES[name], "further", {})} if name in FAMILIES else {}
        if not (dot and equals) or key not in kinds:
            known = "; ".join(f"{family.name}.{{{', '.join(family.defaults)}}}" for family in FAMILIES.values())
            raise Fault(f"--set {pair}: give family.parameter=value; there are {known}")
        kind = type(kinds[key])
        try:
            found[name][key] = kind(value)
        except ValueError as error:
            raise Fault(f"--set {pair}: {value!r} is no {kind.__name__}") from error
    return found
