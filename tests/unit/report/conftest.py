"""A synthetic study of two arms in the names and units that a real run writes, with known numbers in it."""

import numpy as np
import pytest

from hepatojax.io.results import RunWriter
from hepatojax.io.vtkhdf import Quantity, RunHeader, Series

SHAPE = (4, 30, 26)
SPACING_UM = (125.0, 36.0, 36.0)
SAVED_H = tuple(24.0 * 7 * week for week in range(5))
UNITS = {
    "zone": "-", "labels": "-", "pressure": "Pa", "flow_speed": "um/s", "oxygen": "mmHg", "hgf": "nM",
    "quiescent": "-", "primed": "-", "injured": "-", "debris": "-", "msc_adherent": "cells/mm3",
    "functional_mass": "-", "meld": "-", "bilirubin_mg_dl": "mg/dl", "albumin_g_l": "g/l", "inr": "-",
    **{f"{kind}_{organ}": "1e6 cells" for kind in ("msc", "label") for organ in ("lung", "liver", "spleen", "other")},
    "msc_per_lobule": "cells", "label_per_lobule": "cells",
    **{f"source_hgf_by_{origin}": "nmol/h" for origin in ("body", "hepatic_cells", "macrophages", "msc")},
    **{f"source_regulation_by_{origin}": "1/h" for origin in ("lung_education", "liver_education", "memory")},
}  # fmt: skip
SCENARIO = """
[[arm]]
name = "standard_care"
[[arm]]
name = "intravenous"
[[arm.infusion]]
start_h = 0.0
[[arm.infusion]]
start_h = 168.0
"""


def geometry() -> tuple[np.ndarray, np.ndarray]:
    """Zone and labels of a hexagon with a central vein and six portal tracts."""
    _, ny, nx = SHAPE
    y, x = np.meshgrid((np.arange(ny) - ny / 2 + 0.5) * 36.0, (np.arange(nx) - nx / 2 + 0.5) * 36.0, indexing="ij")
    radius = 520.0
    corners = [(radius * np.sin(angle), radius * np.cos(angle)) for angle in np.arange(6) * np.pi / 3]
    portal = np.min([np.hypot(x - cx, y - cy) for cx, cy in corners], axis=0)
    central = np.hypot(x, y)
    apothem = radius * np.sqrt(3) / 2
    distance = np.max([np.abs(x * np.cos(a) + y * np.sin(a)) for a in np.arange(3) * np.pi / 3], axis=0)
    labels = np.where(distance < apothem, 1, 0)
    labels = np.where((labels == 1) & (portal < 60), 2, np.where(central < 60, 3, labels))
    zone = portal / (portal + central)
    return np.broadcast_to(zone, SHAPE).astype(np.float32), np.broadcast_to(labels, SHAPE).astype(np.uint8)


def fields_at(time_h: float, treated: float) -> dict[str, np.ndarray]:
    zone, _ = geometry()
    healing = 1.0 - np.exp(-time_h / (400.0 - 150.0 * treated))
    injured = 0.5 * zone * (1.0 - healing)
    fields = {
        "pressure": 300.0 * (1.0 - zone), "flow_speed": 120.0 * (0.2 + (zone - 0.5) ** 2),
        "oxygen": 60.0 - 40.0 * zone + 5.0 * healing, "hgf": 0.02 + 0.05 * (1.0 - zone) * (1.0 - healing),
        "quiescent": 1.0 - injured - 0.1 * healing, "primed": 0.1 * healing * np.ones(SHAPE),
        "injured": injured, "debris": 0.4 * injured,
        "msc_adherent": 10.0 * treated * np.exp(-time_h / 50.0) * (1 - zone),
    }  # fmt: skip
    return {name: np.asarray(values, dtype=np.float32) for name, values in fields.items()}


def series_between(start_h: float, end_h: float, treated: float) -> Series:
    time = np.arange(start_h, end_h, 6.0) + 6.0 if end_h > start_h else np.zeros(1)
    healing = (1.0 - np.exp(-time / 400.0)) * (1.0 + 0.004 * treated)
    present = treated * (np.exp(-time / 30.0) + np.where(time > 168.0, np.exp(-np.abs(time - 168.0) / 30.0), 0.0))
    pools = {"lung": 63.0, "liver": 1.0, "spleen": 1.0, "other": 5.0}
    values = {
        "functional_mass": 0.35 + 0.4 * healing, "meld": 26.0 - 9.0 * healing, "bilirubin_mg_dl": 14.0 - 10.0 * healing,
        "albumin_g_l": 27.0 + 4.0 * healing, "inr": 2.1 - 0.8 * healing,
        **{f"msc_{organ}": amount * present for organ, amount in pools.items()},
        **{f"label_{organ}": amount * np.sqrt(present) for organ, amount in pools.items()},
        "msc_per_lobule": 0.8 * present, "label_per_lobule": 7.0 * np.sqrt(present),
        "source_hgf_by_body": 2.0 + 0.0 * time, "source_hgf_by_hepatic_cells": 5.0 * (1 - healing),
        "source_hgf_by_macrophages": 1.0 + healing, "source_hgf_by_msc": 1e-3 * present,
        "source_regulation_by_lung_education": 0.01 * present, "source_regulation_by_liver_education": 0.002 * present,
        "source_regulation_by_memory": 0.004 * treated * healing,
    }  # fmt: skip
    return Series(time, values)


def write_study(folder) -> None:
    zone, labels = geometry()
    quantities = {name: Quantity(unit) for name, unit in UNITS.items()}
    for treated, arm in ((0.0, "standard_care"), (1.0, "intravenous")):
        provenance = {"scenario": SCENARIO, "precision": "float32"}
        header = RunHeader("synthetic", SPACING_UM, SHAPE, quantities, {"zone": zone, "labels": labels}, provenance)
        writer, before = RunWriter(folder / arm, header), 0.0
        for time_h in SAVED_H:
            writer.append(time_h, fields_at(time_h, treated), series_between(before, time_h, treated))
            before = time_h
        msc = {"infused": 140.0 * treated, "died": -135.0 * treated, "stored": -5.0 * treated}
        oxygen = {"inflow": 9.0, "outflow": -5.5, "uptake": -3.5}
        writer.finish({"ledger": {
            "oxygen": {"terms": oxygen, "gained": 9.0, "error": 4e-6},
            "hgf": {"terms": {"secreted": 3.0, "body": 1.0, "cleared": -4.0}, "gained": 4.0, "error": 1e-5},
            "msc": {"terms": msc, "gained": 140.0 * treated, "error": 1e-12 * treated},
        }})  # fmt: skip


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder
