"""Blood and oxygen of a lobule in its body: Ohm's law under both drives, and the chain from matrix to oxygen."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from hepatojax.assembly import build_lobule
from hepatojax.biology.metabolism import energy_charge
from hepatojax.biology.vessels import endothelial_turnover, sinusoidal_conductance
from hepatojax.coupling import _breathe, _circulate, blood_flow
from hepatojax.mechanism import Fields
from hepatojax.model import LiverModel
from hepatojax.parameters.registry import load_parameters
from hepatojax.rest import first_guess
from hepatojax.scenario import GridSpec, LobuleSpec, Scenario

DEMAND = 0.04  # Vmax [mM/s], that of healthy tissue


class Course(NamedTuple):
    """What a change of the tissue does, link by link; scalars but `integrity_slope`, over the cells."""

    factor: jax.Array
    resistance: jax.Array
    flow: jax.Array
    gradient: jax.Array
    mmHg: jax.Array
    integrity_slope: jax.Array


@pytest.fixture(autouse=True)
def promotion():
    """Of dtypes and ranks, as a user has it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def at_rest(small_liver, geometry: str) -> LiverModel:
    """The small liver with a geometry and with the resistance that it has at a conductance factor of 1."""
    scenario = Scenario(lobule=LobuleSpec(geometry=geometry), grid=GridSpec(cells=(6, 1, 1)))
    lobule = jax.tree.map(jnp.asarray, build_lobule(scenario, load_parameters()))
    model = dataclasses.replace(small_liver[0], lobule=lobule)
    perfusion, _ = circulate(model, jnp.ones(lobule.grid.shape))
    return dataclasses.replace(model, rest_resistance=perfusion.resistance)


def circulate(model: LiverModel, factor: jax.Array, liver_volume: float = 1.0):
    """Perfusion and inflow of a lobule whose permeability has changed by a factor."""
    fields = Fields({"conductance_factor": factor, "liver_volume": jnp.asarray(liver_volume)})
    return _circulate(model, fields, first_guess(model).solved)


def under_pressure(model: LiverModel, drop_pa: float) -> LiverModel:
    return dataclasses.replace(
        model, numerics=dataclasses.replace(model.numerics, drive="pressure", pressure_drop_pa=drop_pa)
    )


@pytest.fixture(scope="module")
def column(small_liver):
    """A column of six cells with its resistance at rest."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return at_rest(small_liver, "column")


def test_a_pressure_drop_drives_what_ohm_says(column):
    """Q = drop / R in each lobule, whatever its tissue; half the lobules gone changes none of those left."""
    model, drop = column, 700.0
    factor = jnp.asarray(np.random.default_rng(3).uniform(0.2, 1.0, model.grid.shape))
    one, inflow = circulate(under_pressure(model, drop), factor)
    np.testing.assert_allclose(blood_flow(model, inflow.relative) * one.resistance, drop, rtol=1e-12)
    two, doubled = circulate(under_pressure(model, 2.0 * drop), factor)
    assert float(two.resistance) == float(one.resistance)
    np.testing.assert_allclose(doubled.relative, 2.0 * inflow.relative, rtol=1e-14)
    np.testing.assert_allclose(doubled.gradient, 2.0 * inflow.gradient, rtol=1e-14)
    half = dataclasses.replace(model, lobule_share=0.5)
    _, left = circulate(under_pressure(half, drop), factor, liver_volume=0.5)
    np.testing.assert_allclose(blood_flow(half, left.relative) * one.resistance, drop, rtol=1e-12)


def test_the_gradient_of_the_flow_drive_drives_its_flow(column):
    """The gradient that the circuit reports, in pascal, handed to the pressure drive gives back the inflow."""
    model, liver_volume = column, 0.6
    factor = jnp.asarray(np.random.default_rng(4).uniform(0.2, 1.0, model.grid.shape))
    _, by_flow = circulate(model, factor, liver_volume)
    at_rest_pa = float(model.rest_resistance * blood_flow(model, jnp.ones(())))
    _, by_drop = circulate(under_pressure(model, float(by_flow.gradient) * at_rest_pa), factor, liver_volume)
    assert float(by_flow.relative) < 0.95 and float(by_flow.gradient) > 1.05
    for name in ("relative", "gradient", "arterial_share"):
        np.testing.assert_allclose(getattr(by_drop, name), getattr(by_flow, name), rtol=1e-12)


@pytest.fixture(scope="module")
def chain(small_liver):
    """(collagen, integrity) -> Course of a well-mixed lobule, compiled once; and its model."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = at_rest(small_liver, "well_mixed")
    one, biology = jnp.ones(model.grid.shape), model.parameters.biology

    @jax.jit
    def course(collagen, integrity) -> Course:
        tissue = Fields({"collagen": collagen * one, "vascular_integrity": integrity * one, "blocked": 0.0 * one})
        factor = sinusoidal_conductance(tissue, biology.vessels)["conductance_factor"]
        perfusion, inflow = circulate(model, factor)
        flow = perfusion.flow.times(blood_flow(model, inflow.relative))
        demand = Fields({"oxygen_demand": DEMAND * one})
        oxygen = _breathe(model, demand, model.grid, flow, inflow, first_guess(model).solved)
        atp = energy_charge(Fields({"oxygen": oxygen.mmHg}), biology.metabolism)["atp"]
        fed = tissue.with_({"tnf_toxicity": 0.0 * one, "vegf_drive": one, "atp": atp})
        rates = endothelial_turnover(fed, biology.vessels)
        slope = rates.production["vascular_integrity"] - rates.loss["vascular_integrity"] * integrity
        return Course(factor[0, 0, 0], perfusion.resistance, flow.total, inflow.gradient, oxygen.mmHg[0, 0, 0], slope)

    return course, model


HEALTHY = (0.03, 1.0)
INJURED = {"more collagen": (0.18, 1.0), "less endothelium": (0.03, 0.5), "both": (0.25, 0.4)}


@pytest.mark.parametrize("injury", INJURED)
def test_matrix_and_endothelium_act_on_oxygen_through_the_flow(chain, injury):
    """Each link falls or rises as it must: permeability, flow and oxygen down, resistance and portal gradient up."""
    course, _ = chain
    well, ill = course(*HEALTHY), course(*INJURED[injury])
    assert float(ill.factor) < 0.6 * float(well.factor)
    np.testing.assert_allclose(ill.resistance * ill.factor, well.resistance * well.factor, rtol=1e-9)
    assert float(ill.flow) < 0.95 * float(well.flow)
    assert float(ill.gradient) > 1.05 * float(well.gradient)
    assert float(ill.mmHg) < float(well.mmHg) - 1.0


def test_less_oxygen_acts_back_on_the_endothelium(chain):
    """At the same integrity a scarred lobule repairs less: the chain is closed, and it feeds itself."""
    course, _ = chain
    slopes = [float(course(collagen, 0.8).integrity_slope[0, 0, 0]) for collagen in (0.03, 0.15, 0.3, 0.45)]
    assert np.all(np.diff(slopes) < 0)


@pytest.mark.parametrize("injury", INJURED)
def test_the_chain_of_a_well_mixed_lobule_has_its_closed_form(chain, injury):
    """K = v (o/o_rest)^2 beside collaterals, Q = 1 / (s + (1 - s) / sqrt K), Q (C_in - C) = V OCR p / (Km + p)."""
    course, model = chain
    (collagen, integrity), p = INJURED[injury], model.parameters
    bypass, closed = p.biology.vessels.collateral_share, p.biology.vessels.collagen_at_closure
    open_share = (1.0 - collagen / closed) / (1.0 - HEALTHY[0] / closed)
    factor = bypass + (1.0 - bypass) * integrity * open_share**p.biology.vessels.collagen_exponent
    upstream = p.circulation.splanchnic_share
    relative = 1.0 / (upstream + (1.0 - upstream) * factor**-p.circulation.lobular_exponent)
    got = course(collagen, integrity)
    np.testing.assert_allclose(got.factor, factor, rtol=2e-3)  # the openness is smoothed at closure
    np.testing.assert_allclose(got.flow, relative * float(blood_flow(model, jnp.ones(()))), rtol=2e-3)
    np.testing.assert_allclose(got.gradient, relative / factor, rtol=2e-3)
    np.testing.assert_allclose(got.mmHg, well_mixed_mmHg(model, float(got.flow)), rtol=1e-6)


def well_mixed_mmHg(model: LiverModel, flow_um3_s: float) -> float:
    """The root of supply - outflow - uptake, by bisection, with content and arterial buffer in plain numbers."""
    p, o = model.parameters, model.parameters.oxygen

    def content(mmHg: float) -> float:
        bound = mmHg**o.hill_exponent / (mmHg**o.hill_exponent + o.p50_mmHg**o.hill_exponent)
        return o.solubility_mM_mmHg * mmHg + o.capacity_mM * bound

    share, buffer = p.circulation.arterial_share_at_rest, p.circulation.arterial_buffer
    exponent = (1.0 + buffer / ((1.0 - buffer) * share)) / (1.0 - share)
    odds = share / (1.0 - share) * (flow_um3_s / float(blood_flow(model, jnp.ones(())))) ** -exponent
    arterial = odds / (1.0 + odds)
    inlet = arterial * content(p.arterial_mmHg) + (1.0 - arterial) * content(p.portal_mmHg)
    volume = float(model.grid.total_volume)

    def gain(mmHg: float) -> float:
        taken = volume * DEMAND * mmHg / (o.uptake_half_saturation_mmHg + mmHg)
        return flow_um3_s * (inlet - content(mmHg)) - taken

    return float(brentq(gain, 1e-6, 200.0, xtol=1e-10))  # type: ignore
