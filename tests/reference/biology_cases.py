"""Random states and the mechanisms in their order, for all tests of biology."""

import jax.numpy as jnp
import numpy as np

from hepatojax.biology import hepatocytes, immunity, injury, matrix, metabolism, secretion, stem_cells, vessels
from hepatojax.mechanism import Fields

BEFORE_OXYGEN = (
    (matrix.collagen_content, "matrix"),
    (hepatocytes.crowding, "hepatocytes"),
    (stem_cells.sinusoid_blocking, "stem_cells"),
    (vessels.sinusoidal_conductance, "vessels"),
    (metabolism.respiration, "metabolism"),
    (immunity.debris_sensing, "immunity"),
    (stem_cells.msc_census, "stem_cells"),
    (matrix.matrix_degradation, "matrix"),
    (injury.debris_clearance, "injury"),
    (injury.harm_zonation, "injury"),
    (secretion.hgf_uptake, "secretion"),
)
AFTER_OXYGEN = ((metabolism.energy_charge, "metabolism"), (metabolism.working_cells, "metabolism"))
SECRETION = (
    (secretion.secretion, "secretion"),
    (stem_cells.msc_licensing, "stem_cells"),
    (secretion.hgf_secretion, "secretion"),
)
AFTER_SIGNALS = (
    (secretion.hgf_activation, "secretion"),
    (vessels.vegf_sensing, "vessels"),
    (injury.tnf_sensing, "injury"),
    (hepatocytes.regeneration_drives, "hepatocytes"),
    (hepatocytes.cycle_rates, "hepatocytes"),
    (injury.injury_rates, "injury"),
    (stem_cells.msc_contact, "stem_cells"),
    (immunity.macrophage_recruitment, "immunity"),
    (immunity.macrophage_switch, "immunity"),
)
SLOW = (
    (hepatocytes.hepatocyte_turnover, "hepatocytes"),
    (hepatocytes.identity_turnover, "hepatocytes"),
    (metabolism.zonation_relaxation, "metabolism"),
    (immunity.macrophage_turnover, "immunity"),
    (matrix.stellate_turnover, "matrix"),
    (matrix.myofibroblast_turnover, "matrix"),
    (matrix.collagen_turnover, "matrix"),
    (vessels.endothelial_turnover, "vessels"),
    (vessels.capillarisation_turnover, "vessels"),
    (stem_cells.msc_turnover, "stem_cells"),
    (stem_cells.label_turnover, "stem_cells"),
    (stem_cells.plug_release, "stem_cells"),
)
ALGEBRAIC = BEFORE_OXYGEN + AFTER_OXYGEN + SECRETION + AFTER_SIGNALS
MODULES = (hepatocytes, immunity, injury, matrix, metabolism, secretion, stem_cells, vessels)

LARGEST = {
    "quiescent": 1.2, "primed": 0.5, "injured": 0.5, "debris": 0.5, "msc_derived": 0.1, "identity": 1.0,
    "zonation": 1.0, "macrophage_m1": 3.0, "macrophage_m2": 4.0, "macrophage_educated": 1.0, "stellate": 0.9,
    "myofibroblast": 0.1, "collagen_fresh": 0.1, "collagen_crosslinked": 0.4, "vascular_integrity": 1.0,
    "capillarisation": 1.0, "msc_adherent": 5e3, "msc_engrafted": 1e3, "msc_label": 5e3, "plugging": 2.0,
    "oxygen": 70.0, "tnf": 0.1, "il6": 0.5, "il10": 0.1, "tgf_beta": 0.1, "vegf": 0.1, "cxcl12": 5.0, "hgf": 0.5,
    "zone": 1.0, "rest_vegf": 0.05, "rest_apoptosis": 1e-3, "rest_m2_influx": 1.0, "rest_stellate_activation": 0.3,
    "rest_collagen_deposition": 1e-4, "rest_tgf_response": 0.3, "rest_inflammation": 0.3,
}  # fmt: skip
SCALARS = {
    "activity": 10.0, "effector_t": 1.0, "portal_gradient_relative": 4.0, "education_influx": 0.01,
    "load_response": 1.0, "load_excess": 6.0, "mean_tnf": 0.1, "potency_hgf": 2.0, "potency_vegf": 2.0,
    "potency_contact": 2.0, "licensed": 1.0, "toxin_response": 1.0,
}  # fmt: skip
STATES = tuple(spec.name for module in MODULES for spec in module.FIELDS if spec.kind == "state")


def draw(seed, shape=(2, 3, 4), dtype=jnp.float64, low=0.05):
    """Positive random states, signals and scalars."""
    rng = np.random.default_rng(seed)
    values = {name: rng.uniform(low, 1.0, shape) * top for name, top in LARGEST.items()}
    values |= {name: np.asarray(rng.uniform(low, 1.0) * top) for name, top in SCALARS.items()}
    values |= {"mean_cause_weight": np.asarray(1.0), "mean_toxin_weight": np.asarray(2.0)}
    return Fields({name: jnp.asarray(value, dtype) for name, value in values.items()})


def call(mechanism, fields, p):
    """A mechanism on the fields that it declares, and no others."""
    return mechanism(Fields({name: fields[name] for name in mechanism.reads}), p)


def evaluate(fields, p, mechanisms=ALGEBRAIC):
    """The fields with all algebraic ones."""
    for mechanism, room in mechanisms:
        written = call(mechanism, fields, getattr(p, room))
        assert sorted(written) == sorted(mechanism.writes)
        fields = fields.with_(written)
    return fields


def all_rates(fields, p):
    """The rates of every slow mechanism, one by one."""
    return [call(mechanism, fields, getattr(p, room)) for mechanism, room in SLOW]
