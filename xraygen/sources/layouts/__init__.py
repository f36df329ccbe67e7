"""Readers of public collections, by the name of their layout: `xraygen convert LAYOUT FOLDER`.

Each has UNIT, what it counts, and read(folder, log), which yields one Draft or Incident for each
unit and tells `log` what it repaired.
"""

from xraygen.sources.layouts import (
    chexpert_plus,
    kaggle_iu,
    mimic_cxr,
    open_i,
    padchest,
    padchest_gr,
    r2gen,
    rexgradient,
    rexrank,
)

LAYOUTS = {
    "chexpert-plus": chexpert_plus,
    "kaggle-iu": kaggle_iu,
    "mimic-cxr": mimic_cxr,
    "open-i": open_i,
    "padchest": padchest,
    "padchest-gr": padchest_gr,
    "r2gen": r2gen,
    "rexgradient": rexgradient,
    "rexrank": rexrank,
}
