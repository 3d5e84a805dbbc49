"""Quasi-steady fields at given slow states: flow, then oxygen, then signals with the body, in this order.

Nothing has to be solved twice, for each field reads only what came before: the flow follows from vessels, matrix and
plugging; oxygen is carried by it; the energy charge, the loads and the secretion follow from oxygen; a signal is
solved together with its level in the body's plasma. HGF alone waits for another signal, the mean of TNF, which
licenses MSC. Where cells from the blood settle needs the flow and the debris only.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hepatojax.biology.secretion import SIGNALS
from hepatojax.body.circulation import Inflow, arterial_share, liver_inflow
from hepatojax.body.plasma import domain_closure
from hepatojax.failure import Failure, failure, first_failure
from hepatojax.mechanism import MEAN, Fields, pytree
from hepatojax.model import (
    ENERGY,
    HGF_SECRETION,
    LICENSING,
    SECRETION,
    LiverModel,
    evaluate,
    structure,
)
from hepatojax.numerics.adjoint import in_turn, unstacked
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.grid import Grid
from hepatojax.state import Circulation, QuasiSteady
from hepatojax.status import Status
from hepatojax.tissue.arrival import Capture, unit_arrival
from hepatojax.tissue.flow import Flow, superficial_speed
from hepatojax.tissue.oxygen import Oxygen, OxygenParameters, mixed_inlet_mmHg, pressure_of, solve_oxygen
from hepatojax.tissue.perfusion import Perfusion, solve_perfusion
from hepatojax.tissue.signals import BodyClosure, Signal, SignalParameters, solve_signal
from hepatojax.units import SECONDS_PER_HOUR


@pytree
class Evidence:
    """What the solves of one macro-step say of themselves.

    Attributes:
        terms: quantity -> term -> rate of the domain, of oxygen [mM um3/s], of a signal [nM um3/s].
        gained: quantity -> what enters it, same unit.
        imbalance: quantity -> entered - left, same unit.
        statistics: solver -> iterations or relative residual [-].
        failure: the first one.
        extraction: of oxygen, uptake over inflow [-].
        outlet_mmHg: partial pressure of oxygen in the blood that leaves [mmHg].
    """

    terms: dict[str, dict[str, Float[Array, ""]]]
    gained: dict[str, Float[Array, ""]]
    imbalance: dict[str, Float[Array, ""]]
    statistics: dict[str, Float[Array, ""]]
    failure: Failure
    extraction: Float[Array, ""]
    outlet_mmHg: Float[Array, ""]


def solve_quasi_steady(model: LiverModel, fields: Fields, guess: QuasiSteady) -> tuple[QuasiSteady, Fields, Evidence]:
    """Solve flow, oxygen and signals at given slow states.

    Args:
        model: the patient's liver.
        fields: slow states and inputs, see `hepatojax.model.inputs`; (nz, ny, nx) or scalars.
        guess: earlier solution; it starts the solvers. Its guesses and those of the result have no derivative and hand
            on starts: a chain of solves begins and ends with `QuasiSteady.apart`.

    Returns:
        The quasi-steady fields, oxygen [mmHg], signals [nM], arrival [-]; the fields with what was derived on the way,
        but for what HGF waits for; and the evidence.

    Reference: MODEL 2, 3, 4 and 6.
    """
    fields = structure(model, fields)
    perfusion, inflow = _circulate(model, fields, guess)
    dtype, scale = model.numerics.dtype, model.linear_scale(fields.liver_volume)
    grid = model.grid.astype(dtype).scaled(scale.astype(dtype))
    flow = perfusion.flow.times(blood_flow(model, inflow.relative)).astype(dtype)
    oxygen = _breathe(model, fields, grid, flow, inflow, guess)
    fields = fields.with_(
        {
            "oxygen": filled(oxygen.mmHg, model.grid),
            "flow_relative": inflow.relative,
            "portal_gradient_relative": inflow.gradient,
        }
    )
    fields, signals = _signal(model, evaluate(ENERGY, fields, model), grid, flow, guess)
    affinity = 1.0 + fields.debris_response
    arrival = unit_arrival(
        model.grid,
        flow,
        affinity,
        model.parameters.adhesion_per_transit,
        guess.carried,
        tolerance=model.numerics.tolerance,
    )
    solved = QuasiSteady(
        oxygen=fields.oxygen,
        oxygen_guess=oxygen.following_mmHg,
        tissue={name: fields[name] for name in signals},
        excess={name: signal.excess_nM for name, signal in signals.items()},
        inlet={name: signal.inlet_nM.astype(jnp.float64) for name, signal in signals.items()},
        arrival=arrival.density,
        carried=lax.stop_gradient(arrival.carried),  # a guess for the next solve, no more
        circulation=Circulation(
            pressure=perfusion.pressure,
            speed=superficial_speed(model.grid, flow, scale).astype(dtype),
            relative=inflow.relative,
            gradient=inflow.gradient,
            resistance=perfusion.resistance,
        ),
    )
    return solved, fields, _evidence(grid, perfusion, oxygen, model.parameters.oxygen, signals, arrival)


def blood_flow(model: LiverModel, relative: Array) -> Float[Array, ""]:
    """Blood flow of the domain: the liver's flow shared by the lobules that are left.

        Q = q0 V (Q/Q0) / share

    with q0 the perfusion at rest [1/s] and V the tissue volume of the domain at rest [um3].

    Args:
        model: its perfusion at rest and share of lobules left.
        relative: flow of the whole liver over rest, Q/Q0 [-].

    Returns:
        Q [um3/s].
    """
    at_rest = model.parameters.perfusion_at_rest * model.grid.total_volume
    return at_rest * relative / model.lobule_share


def filled(field: Float[Array, "nz ny nx"], grid: Grid) -> Float[Array, "nz ny nx"]:
    """A solved field with its mean in the cells outside the tissue, so that rates there are as harmless as inside.

    Args:
        field: [any unit], (nz, ny, nx).
        grid: where the tissue is, at any scale.

    Returns:
        The field [same unit], (nz, ny, nx).
    """
    return jnp.where(grid.active, field, grid.mean(field).astype(field.dtype))


def _circulate(model: LiverModel, fields: Fields, guess: QuasiSteady) -> tuple[Perfusion, Inflow]:
    """Darcy flow of the lobule and the body's circuit; the vascular bed of the liver grows with its volume."""
    numerics, p = model.numerics, model.parameters.circulation
    perfusion = solve_perfusion(
        model.lobule,
        fields.conductance_factor,
        model.parameters.perfusion,
        guess.circulation.pressure,
        tolerance=numerics.pressure_tolerance,
    )
    conductance = model.rest_resistance / perfusion.resistance * fields.liver_volume
    if numerics.drive == "flow":
        return perfusion, liver_inflow(conductance, p)
    at_rest = model.rest_resistance * blood_flow(model, jnp.asarray(model.lobule_share, jnp.float64))
    gradient = numerics.pressure_drop_pa / at_rest
    return perfusion, Inflow(gradient * conductance, gradient, arterial_share(gradient * conductance, p))


def _breathe(model: LiverModel, fields: Fields, grid: Grid, flow: Flow, inflow: Inflow, guess: QuasiSteady) -> Oxygen:
    """Oxygen of the lobule at the mixed inlet of portal and arterial blood."""
    p = model.parameters
    inlet = mixed_inlet_mmHg(p.portal_mmHg, p.arterial_mmHg, inflow.arterial_share, p.oxygen)
    return solve_oxygen(
        grid,
        flow,
        fields.oxygen_demand,
        inlet,
        p.oxygen,
        guess.oxygen_guess,
        transport=model.numerics.transport,
        tolerance=model.numerics.tolerance,
        handed_on=True,
    )


def _signal(
    model: LiverModel, fields: Fields, grid: Grid, flow: Flow, guess: QuasiSteady
) -> tuple[Fields, dict[str, Signal]]:
    """Solve the signals one after the other in one loop, so that their solver is compiled once.

    HGF, the last, waits for TNF, the first: the mean of TNF licenses the cells that make HGF.
    """
    plasma = flow.times(jnp.asarray(1.0 - model.parameters.haematocrit, model.numerics.dtype))
    fields = evaluate(SECRETION, fields, model)

    def one(mean_tnf: Array, this: _Species) -> tuple[Array, Signal]:
        sources = lax.cond(this.waits, lambda: _sources_of_hgf(model, fields, mean_tnf), lambda: this.sources)
        signal = solve_signal(
            grid,
            plasma,
            sources.secretion / SECONDS_PER_HOUR,
            sources.uptake / SECONDS_PER_HOUR,
            this.parameters,
            sources.body,
            this.guess,
            tolerance=model.numerics.tolerance,
            handed_on=True,
        )
        return jnp.where(this.licenses, model.grid.mean(signal.tissue_nM), mean_tnf), signal

    every = [_species(model, name, fields, guess) for name in SIGNALS]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *every)
    _, solved = in_turn(one, jnp.zeros((), jnp.float64), stacked)

    leaves, of_one = jax.tree.flatten(solved)
    each = zip(*map(unstacked, leaves), strict=True)
    # kept one by one: XLA would compute a stack of cotangents with all of them in each
    signals = {name: of_one.unflatten(map(computed_once, one)) for name, one in zip(SIGNALS, each, strict=True)}
    return fields.with_({name: filled(signal.tissue_nM, model.grid) for name, signal in signals.items()}), signals


@pytree
class _Sources:
    """Of one signal: secretion [nM/h] and intrinsic uptake from plasma [1/h], each (nz, ny, nx), and the body."""

    secretion: Float[Array, "nz ny nx"]
    uptake: Float[Array, "nz ny nx"]
    body: BodyClosure


@pytree
class _Species:
    """One trip of the loop over signals.

    Attributes:
        waits: its sources are made in the loop, from the mean of TNF, and those here are not used.
        licenses: its mean is carried on to the one that waits.
    """

    sources: _Sources
    parameters: SignalParameters
    guess: Float[Array, "2 nz ny nx"]
    waits: bool
    licenses: bool


def _species(model: LiverModel, name: str, fields: Fields, guess: QuasiSteady) -> _Species:
    """What the loop needs of one signal; the potency of MSC counts for VEGF here and for HGF inside the loop."""
    none = jnp.zeros(model.grid.shape, model.numerics.dtype)
    if name == "hgf":
        sources = _Sources(none, none, BodyClosure(1.0, 0.0))  # in its place, not used
    else:
        potency = fields.potency_vegf if name == "vegf" else 1.0
        sources = _Sources(fields[f"secretion_{name}"], none, _closure(model, name, fields, potency))
    return _Species(sources, model.parameters.signals[name], guess.excess[name], name == "hgf", name == "tnf")


def _sources_of_hgf(model: LiverModel, fields: Fields, mean_tnf: Array) -> _Sources:
    """HGF alone is taken up, and alone rises with licensing, outside the liver as in it."""
    fields = evaluate((*LICENSING, *HGF_SECRETION), fields.with_({f"{MEAN}tnf": mean_tnf}), model)
    potency = fields.potency_hgf * jnp.asarray(fields.licensing_outside, jnp.float64)
    return _Sources(fields.secretion_hgf, fields.hgf_uptake, _closure(model, "hgf", fields, potency))


def _closure(model: LiverModel, name: str, fields: Fields, potency: ArrayLike) -> BodyClosure:
    """The body, with the potency [-] of the MSC in it; in float64 whatever it is made of, as a branch must be."""
    signal = model.parameters.body_signals[name]
    closure = domain_closure(signal, fields.load_response, fields.msc_outside, potency, model.domains)
    return BodyClosure(
        clearance_um3_s=jnp.asarray(closure.clearance_um3_s, jnp.float64),
        source_nM_um3_s=jnp.asarray(closure.source_nM_um3_s, jnp.float64),
    )


def _evidence(
    grid: Grid,
    perfusion: Perfusion,
    oxygen: Oxygen,
    carriage: OxygenParameters,
    signals: dict[str, Signal],
    arrival: Capture,
) -> Evidence:
    """Balances of oxygen and signals from the solvers' own ledger terms, their statistics, the first failure."""
    terms = {"oxygen": {"inflow": oxygen.inflow, "outflow": oxygen.outflow, "uptake": oxygen.uptake}}
    gained = {"oxygen": oxygen.inflow}
    imbalance = {"oxygen": oxygen.inflow - oxygen.outflow - oxygen.uptake}
    for name, signal in signals.items():
        gained[name] = signal.secreted + signal.supplied
        imbalance[name] = gained[name] - signal.taken_up - signal.cleared
        terms[name] = {
            "secreted": signal.secreted,
            "supplied": signal.supplied,
            "taken_up": signal.taken_up,
            "cleared": signal.cleared,
        }
    return Evidence(
        terms=terms,
        gained=gained,
        imbalance=imbalance,
        statistics=_statistics(perfusion, oxygen, signals, arrival),
        failure=_first_of_solves(grid, perfusion, oxygen, signals, arrival),
        extraction=oxygen.uptake / oxygen.inflow,
        outlet_mmHg=pressure_of(oxygen.outlet_mM, carriage),
    )


def _first_of_solves(
    grid: Grid, perfusion: Perfusion, oxygen: Oxygen, signals: dict[str, Signal], arrival: Capture
) -> Failure:
    """In the order of the solves, since one that failed may spoil those after it."""
    solved = [
        (s.converged, failure(Status.SIGNALS_NOT_CONVERGED, name, s.worst_cell, grid)) for name, s in signals.items()
    ]
    return first_failure(
        (perfusion.converged, failure(Status.PRESSURE_NOT_CONVERGED, "pressure")),
        (oxygen.converged, failure(Status.OXYGEN_NOT_CONVERGED, "oxygen", oxygen.worst_cell, grid)),
        *solved,
        (arrival.converged, failure(Status.ARRIVAL_NOT_CONVERGED, "arrival", arrival.worst_cell, grid)),
    )


def _statistics(
    perfusion: Perfusion, oxygen: Oxygen, signals: dict[str, Signal], arrival: Capture
) -> dict[str, Float[Array, ""]]:
    """Of each solve, in float64; of the signals the largest of all, and the residual of each."""
    residuals = {f"signal_residual_{name}": s.residual.astype(jnp.float64) for name, s in signals.items()}
    return {
        "pressure_iterations": perfusion.iterations.astype(jnp.float64),
        "pressure_residual": perfusion.residual.astype(jnp.float64),
        "oxygen_newton_steps": oxygen.newton_iterations.astype(jnp.float64),
        "oxygen_iterations": oxygen.linear_iterations.astype(jnp.float64),
        "oxygen_residual": oxygen.residual.astype(jnp.float64),
        "signal_sweeps": largest(signal.sweeps for signal in signals.values()),
        "signal_iterations": largest(signal.iterations for signal in signals.values()),
        "signal_residual": largest(residuals.values()),
        **residuals,
        "arrival_iterations": arrival.iterations.astype(jnp.float64),
        "arrival_residual": arrival.residual.astype(jnp.float64),
    }


def largest(values: Iterable[Array]) -> Float[Array, ""]:
    """The largest entry of some scalars or arrays, in float64.

    Args:
        values: arrays of one unit, any shapes.

    Returns:
        The largest entry of all [their unit].
    """
    return jnp.max(jnp.stack([jnp.max(value).astype(jnp.float64) for value in values]))
