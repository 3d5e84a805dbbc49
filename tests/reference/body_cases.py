"""Random states of the body and its mechanisms in their order, as `biology_cases` has them for the tissue."""

import jax.numpy as jnp
import numpy as np

from hepatojax.body import growth, hazards, immune_memory, liver_tests
from hepatojax.mechanism import Fields

MODULES = (growth, immune_memory, liver_tests, hazards)
ROOMS = ("growth", "immune_memory", "liver_tests", "hazards")
MECHANISMS = tuple(
    (mechanism, room) for module, room in zip(MODULES, ROOMS, strict=True) for mechanism in module.MECHANISMS
)
ALGEBRAIC = tuple(pair for pair in MECHANISMS if pair[0].kind == "algebraic")
SLOW = tuple(pair for pair in MECHANISMS if pair[0].kind == "slow")
STATES = tuple(name for mechanism, _ in SLOW for name in mechanism.writes)

LARGEST = {
    "effector_t": 1.0, "regulatory_t": 9.0, "treg_precursors": 2.0, "educated_monocytes": 800.0,
    "immune_suppression": 1.0, "bilirubin_mg_dl": 20.0, "factor_vii": 1.2, "albumin_g_l": 45.0, "alt_u_l": 2e3,
    "ast_u_l": 2e3, "mortality_hazard": 1.5, "infection_incidence": 0.5, "infection_hazard_integral": 1.0,
    "device_hazard": 0.5, "hcc_hazard": 0.1, "activity": 10.0, "potency_education": 2.0, "msc_deaths_liver": 4.0,
    "portal_gradient_relative": 6.0, "liver_volume": 1.3, "rest_mass": 1.0,
    "rest_function": 0.9, "msc_lung": 6e3, "mean_occupancy": 1.2, "mean_mass_local": 1.0, "mean_function_local": 0.9,
    "mean_macrophage_m1": 2.0, "mean_inflammation": 0.9, "mean_necrosis": 5e-3, "mean_division": 2e-3,
    "mean_collagen": 0.3, "mean_blocked": 0.9,
}  # fmt: skip


def draw(seed, low=0.1, dtype=jnp.float64):
    """Random positive states and inputs, scalars; `low` as a share of the largest."""
    rng = np.random.default_rng(seed)
    return Fields({name: jnp.asarray(rng.uniform(low, 1.0) * top, dtype) for name, top in LARGEST.items()})


def call(mechanism, fields, p):
    """A mechanism on the fields that it declares, and no others."""
    return mechanism(Fields({name: fields[name] for name in mechanism.reads}), p)


def evaluate(fields, p):
    """The fields with all algebraic ones; p: `ModelParameters` or anything with the rooms as attributes."""
    for mechanism, room in ALGEBRAIC:
        fields = fields.with_(call(mechanism, fields, getattr(p, room)))
    return fields


def slopes(fields, p):
    """dy/dt of every state [unit/h], transfers included; fields: evaluated."""
    slope = dict.fromkeys(STATES, 0.0)
    for mechanism, room in SLOW:
        rates = call(mechanism, fields, getattr(p, room))
        for name in rates.production:
            slope[name] = slope[name] + rates.production[name]
        for name in rates.loss:
            slope[name] = slope[name] - rates.loss[name] * fields[name]
        for move in rates.transfers:
            slope[move.source] = slope[move.source] - move.rate * fields[move.source]
            slope[move.target] = slope[move.target] + move.gain * move.rate * fields[move.source]
    return slope
