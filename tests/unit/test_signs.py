"""The direction of every effect: the sign of a derivative at random states, as physiology and the docstrings have it.

A table: what changes, by what, and whether it rises (+) or falls (-). Of a state the net slope P - D y is meant, its
transfers included. Smooth positive parts have a derivative everywhere, so that every sign is strict.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.assembly import model_parameters
from hepatojax.biology.rest import gain_and_loss
from hepatojax.mechanism import Fields
from hepatojax.parameters.registry import load_parameters
from tests.reference import biology_cases, body_cases

P = model_parameters(load_parameters())

TISSUE = """
crowding.occupancy + quiescent primed injured msc_derived debris collagen_excess
crowding.room - quiescent debris collagen_excess
sinusoid_blocking.blocked + plugging
sinusoidal_conductance.conductance_factor + vascular_integrity
sinusoidal_conductance.conductance_factor - collagen blocked
respiration.oxygen_demand + quiescent primed injured macrophage_m1
respiration.oxygen_demand - zone
energy_charge.atp + oxygen
energy_charge.hypoxia - oxygen
working_cells.mass_local + quiescent primed injured atp
working_cells.function_local + identity atp
working_cells.function_local - capillarisation
debris_sensing.debris_response + debris
matrix_degradation.matrix_degradation + macrophage_m2 msc_ratio
debris_clearance.debris_clearance + macrophage_m1 macrophage_m2
harm_zonation.toxin_weight + zone
hgf_activation.hgf_active + hgf debris load_response
hgf_uptake.hgf_uptake + quiescent primed injured
tnf_sensing.tnf_toxicity + tnf
tnf_sensing.inflammation + tnf
tnf_sensing.inflammation - rest_inflammation
regeneration_drives.priming_drive + il6 tnf
regeneration_drives.priming_drive - inflammation occupancy
regeneration_drives.growth_drive + hgf_active atp
regeneration_drives.growth_drive - tgf_beta inflammation occupancy
cycle_rates.division + primed growth_drive atp room
injury_rates.injury_rate + activity effector_t toxin_response tnf_toxicity load_excess
injury_rates.injury_rate - atp
injury_rates.repair_rate + atp
injury_rates.repair_rate - tnf_toxicity
injury_rates.necrosis + injured tnf_toxicity
injury_rates.necrosis - atp
macrophage_recruitment.recruitment_rate + debris_response tnf effector_t portal_gradient_relative
macrophage_switch.switch_rate + debris il10 macrophage_educated msc_contact licensing
macrophage_switch.switch_rate - macrophage_m1
msc_contact.msc_contact + msc_viable potency_contact
msc_contact.msc_contact - macrophage_m1
msc_licensing.licensing + mean_tnf licensed
msc_licensing.licensing_outside + licensed
msc_census.msc_death + msc_adherent msc_engrafted
secretion.secretion_tnf + macrophage_m1
secretion.secretion_il6 + macrophage_m1 load_response
secretion.secretion_il10 + macrophage_m2
secretion.secretion_tgf_beta + stellate myofibroblast macrophage_m2 msc_viable
secretion.secretion_vegf + hypoxia msc_viable potency_vegf
secretion.secretion_cxcl12 + debris_response msc_viable
hgf_secretion.secretion_hgf + macrophage_m2 stellate msc_viable licensing load_response
hepatocyte_turnover.quiescent + primed repair_rate
hepatocyte_turnover.quiescent - quiescent priming_rate injury_rate rest_apoptosis
hepatocyte_turnover.primed + quiescent priming_rate growth_drive
hepatocyte_turnover.primed - division_rate injury_rate
hepatocyte_turnover.injured + injury_rate
hepatocyte_turnover.injured - repair_rate necrosis_rate
hepatocyte_turnover.debris + injured necrosis_rate
hepatocyte_turnover.debris - debris_clearance
identity_turnover.identity - inflammation identity
zonation_relaxation.zonation + oxygen
macrophage_turnover.macrophage_m1 + recruitment_rate
macrophage_turnover.macrophage_m1 - switch_rate macrophage_m1
macrophage_turnover.macrophage_m2 + switch_rate education_influx rest_m2_influx
macrophage_turnover.macrophage_educated + education_influx
stellate_turnover.stellate + tgf_beta tnf_toxicity debris_response inflammation
stellate_turnover.stellate - macrophage_m2 stellate
myofibroblast_turnover.myofibroblast + msc_death
collagen_turnover.collagen_fresh + stellate myofibroblast tgf_beta
collagen_turnover.collagen_fresh - matrix_degradation rest_tgf_response
collagen_turnover.collagen_crosslinked + collagen_fresh
collagen_turnover.collagen_crosslinked - matrix_degradation
endothelial_turnover.vascular_integrity + vegf_drive atp
endothelial_turnover.vascular_integrity - tnf_toxicity
capillarisation_turnover.capillarisation + stellate
capillarisation_turnover.capillarisation - macrophage_m2 vegf_drive
"""
BODY = """
loads.mass + liver_volume mean_mass_local
loads.load_excess - liver_volume mean_mass_local
loads.load_response - mean_mass_local
loads.functional_excess - mean_function_local
education_influx.education_influx + educated_monocytes
education_influx.education_influx - liver_volume
effector_t_cells.effector_t + activity mean_macrophage_m1
effector_t_cells.effector_t - regulatory_t effector_t
regulatory_t_cells.treg_precursors + msc_deaths_liver potency_education
regulatory_t_cells.treg_precursors - treg_precursors
regulatory_t_cells.regulatory_t + treg_precursors
regulatory_t_cells.regulatory_t - regulatory_t
monocyte_education.educated_monocytes + msc_deaths_liver potency_education
monocyte_education.educated_monocytes - educated_monocytes
defence_suppression.immune_suppression + regulatory_t
clinical_chemistry.inr - factor_vii
clinical_chemistry.creatinine_mg_dl + functional_excess
clinical_chemistry.meld + bilirubin_mg_dl functional_excess
clinical_chemistry.meld - factor_vii
bilirubin.bilirubin_mg_dl + mean_inflammation
bilirubin.bilirubin_mg_dl - function bilirubin_mg_dl
synthesis.factor_vii + function
synthesis.albumin_g_l + function
synthesis.albumin_g_l - mean_inflammation albumin_g_l
transaminases.alt_u_l + mean_necrosis liver_volume
transaminases.ast_u_l + mean_necrosis liver_volume
hazard_rates.infection_rate + meld immune_suppression
hazard_rates.device_rate + mean_blocked portal_gradient_relative msc_lung
hazard_rates.mortality_rate + meld immune_suppression mean_blocked portal_gradient_relative msc_lung
hazard_rates.survival - mortality_hazard
accumulated_hazards.infection_incidence + infection_rate
accumulated_hazards.infection_incidence - mortality_hazard infection_hazard_integral
cancer_hazard.hcc_hazard + mean_collagen immune_suppression mean_division
"""


def effects(table):
    """Rows (mechanism, output, sign, inputs) of a table."""
    for line in table.strip().splitlines():
        head, sign, *inputs = line.split()
        yield (*head.split("."), 1.0 if sign == "+" else -1.0, inputs)


def output_of(mechanism, parameters, output, fields):
    """The derived field, or the net slope of the state."""
    result = mechanism(fields, parameters)
    if mechanism.kind == "algebraic":
        return jnp.sum(result[output])
    gain, loss = gain_and_loss(result, output, fields)
    return jnp.sum(gain - loss * fields[output])


def assert_signs(mechanism, parameters, output, sign, inputs, fields):
    fields = Fields({name: fields[name] for name in (*mechanism.reads, *mechanism.writes)})
    for name in inputs:
        slope = jax.grad(lambda v, name=name: output_of(mechanism, parameters, output, fields.with_({name: v})))(
            fields[name]
        )
        assert np.all(np.isfinite(slope)) and np.all(sign * np.asarray(slope) > 0.0), f"{output} by {name}: {slope}"


@pytest.mark.parametrize(("name", "output", "sign", "inputs"), tuple(effects(TISSUE)))
def test_tissue_moves_the_way_it_should(name, output, sign, inputs):
    (mechanism, room) = next(pair for pair in biology_cases.ALGEBRAIC + biology_cases.SLOW if pair[0].name == name)
    fields = biology_cases.evaluate(biology_cases.draw(31, shape=(1, 1, 6)), P.biology)
    assert_signs(mechanism, getattr(P.biology, room), output, sign, inputs, fields)


@pytest.mark.parametrize(("name", "output", "sign", "inputs"), tuple(effects(BODY)))
def test_body_moves_the_way_it_should(name, output, sign, inputs):
    (mechanism, room) = next(pair for pair in body_cases.MECHANISMS if pair[0].name == name)
    for seed in (32, 33):
        fields = body_cases.evaluate(body_cases.draw(seed), P)
        assert_signs(mechanism, getattr(P, room), output, sign, inputs, fields)


@pytest.mark.parametrize(("table", "cases"), [(TISSUE, biology_cases), (BODY, body_cases)])
def test_the_table_holds_every_mechanism_but_plain_decay(table, cases):
    """What only decays or only adds has an exact solution elsewhere."""
    exact = {"collagen_content", "msc_turnover", "label_turnover", "plug_release", "vegf_sensing", "growth"}
    known = {mechanism.name for mechanism, _ in cases.ALGEBRAIC + cases.SLOW}
    assert known - exact == {name for name, *_ in effects(table)}


def test_a_liver_grows_when_crowded_and_shrinks_when_empty_and_rests_at_one():
    (grow,) = (mechanism for mechanism, _ in body_cases.MECHANISMS if mechanism.name == "growth")
    rates = {
        c: float(grow(Fields({"mean_occupancy": jnp.asarray(c)}), P.growth)["growth_rate"]) for c in (0.5, 1.0, 1.5)
    }
    assert rates[1.0] == 0.0
    np.testing.assert_allclose(24 * rates[0.5], -0.01 * 0.5, rtol=1e-5)  # far below: the slow rate
    np.testing.assert_allclose(24 * rates[1.5], 4.0 * 0.5, rtol=1e-5)  # far above: the fast one
