"""The equations of docs/model.md once more, slow and obvious, with every number taken by its name in the registry.

The other twins carry the default numbers as text, so that two parameters of equal default (priming and division, the
losses of label) or a neutral one (an exponent of one, a rate of zero) could stand for each other unseen. Here every
number is an argument: tests draw them at random. NumPy, per hour, canonical units, no code of the package.
"""

from types import SimpleNamespace

import numpy as np


def numbers(parameters):
    """Subject -> group -> name -> value, as nested namespaces, from the rows of a registry."""
    tree = SimpleNamespace()
    for row in parameters.rows:
        *path, last = row.name.split(".")
        node = tree
        for part in path:
            if not hasattr(node, part):
                setattr(node, part, SimpleNamespace())
            node = getattr(node, part)
        setattr(node, last, row.canonical)
    return tree


def H(c, K, n=1.0):
    return 1.0 / (1.0 + (K / c) ** n)


def P(y, e):
    return (y + np.hypot(y, e)) / 2.0


def logistic(y):
    return 0.5 * (1.0 + np.tanh(y / 2.0))


def structure(y, r):
    """A2, A3, A6-A8: what follows from the states alone."""
    h, m, v, s = r.hepatocytes, r.matrix, r.vessels, r.stem_cells
    c = y.collagen_fresh + y.collagen_crosslinked
    occ = y.quiescent + h.volume_primed * y.primed + y.injured + y.msc_derived + h.volume_debris * y.debris
    occ = occ + c - m.rest_collagen
    open_now, open_rest = (
        P(1 - x / v.collagen_at_closure, v.collagen_smoothing) for x in (c, np.asarray(m.rest_collagen))
    )
    through = y.vascular_integrity * (open_now / open_rest) ** v.collagen_exponent * np.exp(-y.plugging)
    cells = y.quiescent + r.metabolism.uptake_primed * y.primed + r.metabolism.uptake_injured * y.injured
    cells = cells + r.metabolism.uptake_msc_derived * y.msc_derived
    cells = cells + r.metabolism.uptake_macrophage * (y.macrophage_m1 + y.macrophage_m2)
    viable = y.msc_adherent + y.msc_engrafted
    M = viable / r.cells.macrophage_density
    return {
        "collagen": c,
        "collagen_excess": c - m.rest_collagen,
        "occupancy": occ,
        "room": logistic((h.room_occupancy - occ) / h.room_width),
        "blocked": 1 - np.exp(-y.plugging),
        "conductance_factor": v.collateral_share + (1 - v.collateral_share) * through,
        "oxygen_demand": r.metabolism.uptake_at_rest
        * (1 + r.metabolism.uptake_zonation - 2 * r.metabolism.uptake_zonation * y.zone)
        * cells,
        "debris_response": H(y.debris, r.immunity.debris_half_saturation, r.immunity.debris_exponent),
        "msc_viable": viable,
        "msc_ratio": M,
        "msc_death": s.death_rate * y.msc_adherent + s.engrafted_death_rate * y.msc_engrafted,
        "matrix_degradation": 1 + m.mmp_m2 * (y.macrophage_m2 - 1) / (1 + y.macrophage_m2) + m.mmp_msc * M,
        "debris_clearance": r.injury.debris_clearance_rate
        * (y.macrophage_m1 + r.injury.debris_clearance_m2 * y.macrophage_m2)
        / 2,
        "cause_weight": np.exp(r.injury.cause_zonation * (y.zone - 0.5)),
        "toxin_weight": np.exp(r.injury.toxin_zonation * (y.zone - 0.5)),
        "hgf_uptake": r.signals.hgf.uptake_rate_1_h
        * (y.quiescent + y.primed + r.signals.hgf.uptake_injured * y.injured),
    }


def energy(y, r):
    """A3: energy, hypoxia, and what the cells of a place count for."""
    b = r.metabolism
    atp = H(y.oxygen, b.atp_half_saturation, b.atp_exponent)
    mass = y.quiescent + b.mass_primed * y.primed + b.mass_injured * y.injured + b.mass_msc_derived * y.msc_derived
    return {
        "atp": atp,
        "hypoxia": 1 - H(y.oxygen, b.hypoxia_half_saturation, b.hypoxia_exponent),
        "mass_local": mass * atp,
        "function_local": mass * atp * y.identity * (1 - b.capillarisation_effect * y.capillarisation),
    }


def signals(y, r):
    """A4: licensing, and secretion in nM/h = ng/1e6/h x 1e6 cells/l / (1e3 g/mol per kDa)."""
    g, n_m, n_s, n_h = r.signals, r.cells.macrophage_density, r.cells.stellate_density, r.cells.hepatocyte_density
    full = y.licensed + (1 - y.licensed) * H(y.mean_tnf, r.stem_cells.licensing_half_saturation)
    lic = 1 + r.amplification.licensing * full
    m1, m2 = n_m * y.macrophage_m1, n_m * y.macrophage_m2
    resident = g.hgf.secretion_resident * n_h * (1 + g.hgf.load_gain * y.load_response)
    made = {
        "tnf": g.tnf.secretion_macrophage_m1 * m1,
        "il6": g.il6.secretion_macrophage_m1 * m1
        + g.il6.secretion_resident * n_m * (1 + g.il6.load_gain * y.load_response),
        "il10": g.il10.secretion_macrophage_m2 * m2,
        "tgf_beta": g.tgf_beta.active_share
        * (
            g.tgf_beta.secretion_stellate * n_s * (y.stellate + y.myofibroblast)
            + g.tgf_beta.secretion_macrophage_m2 * m2
            + g.tgf_beta.secretion_msc * y.msc_viable
        ),
        "vegf": g.vegf.secretion_hepatocyte * n_h * (1 + g.vegf.hypoxia_gain * y.hypoxia)
        + g.vegf.secretion_msc * y.potency_vegf * y.msc_viable,
        "cxcl12": g.cxcl12.secretion_hepatocyte * n_h * (1 + g.cxcl12.debris_gain * y.debris_response)
        + g.cxcl12.secretion_msc * y.msc_viable,
        "hgf": resident
        + g.hgf.secretion_macrophage_m2 * (m2 - n_m)
        + g.hgf.secretion_stellate * n_s * (y.stellate - r.matrix.rest_stellate)
        + g.hgf.secretion_msc * lic * y.potency_hgf * y.msc_viable,
    }
    out = {f"secretion_{name}": ng / (1e3 * getattr(g, name).molar_mass_kda) for name, ng in made.items()}
    return {**out, "licensing": lic, "licensing_outside": 1 + r.amplification.licensing * y.licensed}


def contact(y, r):
    """A6: l E[1 / (N + 1 + a)] for N ~ Poisson(l) by Taylor's formula about the mean, to second order."""
    volume = r.stem_cells.contact_volume * 1e-9
    mean = y.msc_viable * volume
    middle = mean + 1 + (y.macrophage_m1 + r.immunity.contact_half_saturation) * r.cells.macrophage_density * volume
    return y.potency_contact * mean * (1 / middle + mean / middle**3)


def responses(y, r):
    """A4-A6: what the cells make of signals, energy and the body."""
    h, j, i, g = r.hepatocytes, r.injury, r.immunity, r.signals.hgf
    T = H(y.tnf, j.killing_half_saturation, j.killing_exponent)
    raised = (H(y.tnf, j.inflammation_half_saturation) - y.rest_inflammation) / (1 - y.rest_inflammation)
    J = P(raised, j.inflammation_smoothing)
    brake = 1 / (1 + h.brake_strength * J)
    free = P(1 - y.occupancy, h.free_space_smoothing)
    loc = h.free_space_gain * H(free, h.free_space_half_saturation, h.free_space_exponent) * brake
    pr0 = H(y.il6 + h.priming_tnf_weight * y.tnf, h.priming_half_saturation) * brake
    act = 1 + g.activation_load_gain * H(y.load_response, g.activation_load_half_saturation)
    act = act + g.activation_debris_gain * H(y.debris, i.debris_half_saturation)
    active = g.active_fraction * act * y.hgf
    G0 = H(active, h.growth_half_saturation, h.growth_exponent) / (1 + y.tgf_beta / h.growth_tgf_half_inhibition)
    prime, G = pr0 + (1 - pr0) * loc, G0 + (1 - G0) * loc * y.atp
    b = h.division_rate * G * y.atp * y.room
    injury = y.activity * (j.direct_rate + j.immune_rate * y.effector_t) * y.cause_weight / y.mean_cause_weight
    injury = injury + j.toxin_rate * y.toxin_response * y.toxin_weight / y.mean_toxin_weight
    injury = injury + j.killing_rate * T + j.anoxia_rate * (1 - y.atp) ** 2
    injury = injury + j.overload_rate * H(y.load_excess, j.overload_half_saturation, j.overload_exponent)
    k_nec = j.necrosis_rate * (1 + j.necrosis_tnf_gain * T + j.necrosis_energy_gain * (1 - y.atp))
    touch = contact(y, r)
    called = H(y.debris, i.debris_half_saturation, i.debris_exponent) * (1 + H(y.tnf, j.killing_half_saturation))
    gut = H(P(y.portal_gradient_relative - 1, i.gut_smoothing), i.gut_half_saturation, i.gut_exponent)
    recruited = i.resting_recruitment + i.debris_recruitment * called + i.effector_recruitment * y.effector_t
    switch = i.switch_rate + i.switch_debris_rate * H(y.debris, i.switch_debris_half_saturation)
    switch = switch + i.switch_il10_rate * H(y.il10, i.switch_il10_half_saturation)
    switch = switch + r.amplification.contact_rate * y.licensing * touch
    e = y.macrophage_educated
    switch = switch + r.amplification.relay_rate * e / (y.macrophage_m1 + e + i.contact_half_saturation)
    return {
        "tnf_toxicity": T,
        "inflammation": J,
        "hgf_active": active,
        "vegf_drive": y.vegf / y.rest_vegf,
        "free_space_drive": loc,
        "priming_drive": prime,
        "growth_drive": G,
        "priming_rate": h.priming_rate * prime * y.atp * y.room,
        "division_rate": b,
        "division": b * y.primed,
        "injury_rate": injury,
        "repair_rate": j.repair_rate * y.atp / (1 + j.repair_tnf_inhibition * T),
        "necrosis_rate": k_nec,
        "necrosis": k_nec * y.injured,
        "msc_contact": touch,
        "recruitment_rate": recruited + i.gut_recruitment * gut,
        "switch_rate": switch,
    }


def tissue_slopes(y, r):
    """A5-A8: dy/dt of every state of the tissue [unit/h]."""
    h, i, m, v, s = r.hepatocytes, r.immunity, r.matrix, r.vessels, r.stem_cells
    q, p, ill, d, back = (
        y.quiescent,
        y.primed,
        y.injured,
        y.debris,
        r.hepatocytes.quiescence_rate * (1 - y.growth_drive),
    )
    m1, m2, e, st = y.macrophage_m1, y.macrophage_m2, y.macrophage_educated, y.stellate
    n_a, n_e, cap, v_i = y.msc_adherent, y.msc_engrafted, y.capillarisation, y.vascular_integrity
    A = H(y.tgf_beta, m.activation_tgf_half_saturation, m.activation_tgf_exponent) + m.activation_tnf * y.tnf_toxicity
    A = A + m.activation_debris * y.debris_response + m.activation_inflammation * y.inflammation
    A = m.activation_rate * (A + y.rest_stellate_activation)
    laid = y.rest_collagen_deposition * (st + y.myofibroblast)
    laid = laid * (1 + m.deposition_tgf_gain * H(y.tgf_beta, m.deposition_tgf_half_saturation))
    laid = laid / (1 + m.deposition_tgf_gain * y.rest_tgf_response)
    mmp, felt = y.matrix_degradation, (y.vegf_drive - 1) / (y.vegf_drive + 1)
    S = P(st - v.capillarisation_threshold, v.capillarisation_smoothing) / (1 - v.capillarisation_threshold)
    relief = 1 + P(m2 - 1, v.m2_smoothing) / (1 + m2) + felt
    zone_target = H(y.oxygen, r.metabolism.zonation_half_saturation, r.metabolism.zonation_exponent)
    influx, harm = y.education_influx, y.injury_rate
    return {
        "quiescent": (2 * y.division_rate + back) * p
        + y.repair_rate * ill
        - (y.priming_rate + harm + y.rest_apoptosis) * q,
        "primed": y.priming_rate * q - (y.division_rate + back + harm) * p,
        "injured": harm * (q + p) - (y.repair_rate + y.necrosis_rate) * ill,
        "debris": y.necrosis_rate * ill - y.debris_clearance * d,
        "identity": h.identity_gain_rate * (1 - y.identity) - h.identity_loss_rate * y.inflammation * y.identity,
        "zonation": (zone_target - y.zonation) / r.metabolism.zonation_time,
        "macrophage_m1": y.recruitment_rate - (i.m1_loss_rate + y.switch_rate) * m1,
        "macrophage_m2": y.switch_rate * m1 + i.m2_loss_rate * (y.rest_m2_influx - m2) + influx,
        "macrophage_educated": influx - i.educated_loss_rate * e,
        "stellate": A * (1 - st) - m.deactivation_rate * (1 + m.deactivation_m2_gain * m2 / (1 + m2)) * st,
        "myofibroblast": m.myofibroblast_share * y.msc_death / r.cells.stellate_density
        - m.myofibroblast_loss_rate * y.myofibroblast,
        "collagen_fresh": laid - (m.fresh_degradation_rate * mmp + m.crosslink_rate) * y.collagen_fresh,
        "collagen_crosslinked": m.crosslink_rate * y.collagen_fresh
        - m.crosslinked_degradation_rate * mmp * y.collagen_crosslinked,
        "vascular_integrity": v.repair_rate * (1 + felt) * (1 - v_i)
        - v.damage_rate * (y.tnf_toxicity + 1 - y.atp) * v_i,
        "capillarisation": v.capillarisation_rate * S * (1 - cap) - v.decapillarisation_rate * relief * cap,
        "msc_adherent": -(s.death_rate + s.engraftment_rate) * n_a,
        "msc_engrafted": s.engraftment_rate * n_a - (s.engrafted_death_rate + s.differentiation_rate) * n_e,
        "msc_derived": s.differentiation_rate * n_e / r.cells.hepatocyte_density,
        "msc_label": -s.label_loss_rate * y.msc_label,
        "plugging": -s.unplug_rate * y.plugging,
    }


def body(y, r):
    """A2, A8, A9: what follows from the states of the body."""
    w, t, z, a = r.growth, r.liver_tests, r.hazards, r.immune_memory
    grown = y.mean_occupancy - 1
    mass, function = (
        y.liver_volume * getattr(y, f"mean_{k}_local") / getattr(y, f"rest_{k}") for k in ("mass", "function")
    )
    excess = {k: P(1 / f - 1 - w.tolerated_load, w.load_smoothing) for k, f in (("m", mass), ("f", function))}
    inr = ((y.factor_vii + t.inr_floor) / (1 + t.inr_floor)) ** (-t.inr_exponent)
    kidney = H(excess["f"], t.creatinine_half_load, t.creatinine_exponent)
    creatinine = t.creatinine_at_rest_mg_dl * (1 + t.creatinine_rise * kidney)
    levels = (np.log(1 + P(x - 1, t.meld_smoothing)) for x in (y.bilirubin_mg_dl, inr, creatinine))
    meld = 6.43 + np.dot((3.78, 11.2, 9.57), list(levels))
    hM = z.infection_rate * np.exp(z.infection_meld_slope * (meld - z.meld_origin))
    h_inf = 1 / (1 / hM + 1 / z.infection_ceiling) * (1 + z.infection_suppression * y.immune_suppression)
    pressure = P(y.portal_gradient_relative - 1, z.portal_smoothing)
    h_dev = z.blocked_rate * H(y.mean_blocked, z.blocked_half_effect, z.blocked_exponent)
    h_dev = h_dev + z.portal_rate * H(pressure, z.portal_half_effect, z.portal_exponent)
    h_dev = h_dev + z.lung_rate * H(y.msc_lung, z.lung_half_effect, z.lung_exponent)
    death = z.death_rate * np.exp(z.death_meld_slope * (meld - z.meld_origin)) + h_dev + z.infection_fatality * h_inf
    macrophages = r.patient.liver_volume_l * (y.liver_volume + a.dead_liver_volume) * r.cells.macrophage_density
    return {
        "growth_rate": grown * (w.shrink_rate + (w.expansion_rate - w.shrink_rate) * logistic(w.steepness * grown)),
        "mass": mass,
        "function": function,
        "load_excess": excess["m"],
        "load_response": H(excess["m"], w.load_half_saturation, w.load_exponent),
        "functional_excess": excess["f"],
        "education_influx": a.monocyte_homing_rate * y.educated_monocytes / macrophages,
        "inr": inr,
        "creatinine_mg_dl": creatinine,
        "meld": meld,
        "infection_rate": h_inf,
        "device_rate": h_dev,
        "mortality_rate": death,
        "survival": np.exp(-y.mortality_hazard),
    }


def body_slopes(y, r):
    """A6, A9: dy/dt of the states of the body [unit/h], infused cells dying in the liver alone."""
    a, t, z, amplified = r.immune_memory, r.liver_tests, r.hazards, r.amplification
    eaten = amplified.phagocytes_per_msc * y.potency_education * y.msc_deaths_liver
    matured = a.maturation_rate * y.treg_precursors
    faded = a.treg_turnover_rate * (1 + (y.regulatory_t / a.treg_maximum) ** a.treg_crowding_exponent) * y.regulatory_t
    restraint = (1 + 1 / a.regulation_half_effect) / (1 + y.regulatory_t / a.regulation_half_effect)
    calls = a.costimulation_at_rest + H(y.mean_macrophage_m1, a.costimulation_half_saturation)
    effect = H(y.activity, a.cause_half_saturation) * calls * restraint
    suppressed = H(
        P(y.regulatory_t - 1, a.suppression_smoothing), a.suppression_half_saturation, a.suppression_exponent
    )
    bile = y.function**t.bilirubin_function_exponent / (1 + t.bilirubin_inflammation * y.mean_inflammation)
    bile = bile + t.bilirubin_other_excretion
    made = t.albumin_at_rest_g_l * y.function**t.albumin_function_exponent
    made = made * (1 - t.albumin_inflammation * y.mean_inflammation)
    lysis = y.mean_necrosis * y.liver_volume
    untouched = np.exp(-y.mortality_hazard - (1 - z.infection_fatality) * y.infection_hazard_integral)
    watched = 1 + z.cancer_surveillance * y.immune_suppression
    scar = H(y.mean_collagen, z.cancer_collagen_half_effect, z.cancer_collagen_exponent)
    return {
        "effector_t": a.effector_rate * (effect - y.effector_t),
        "treg_precursors": amplified.tregs_per_phagocyte * eaten / a.treg_pool - matured,
        "regulatory_t": a.treg_turnover_rate * (1 + a.treg_maximum**-a.treg_crowding_exponent) + matured - faded,
        "educated_monocytes": eaten - a.monocyte_homing_rate * y.educated_monocytes,
        "immune_suppression": a.suppression_rate * (suppressed - y.immune_suppression),
        "bilirubin_mg_dl": t.bilirubin_rate * (t.bilirubin_at_rest_mg_dl - y.bilirubin_mg_dl * bile),
        "factor_vii": t.factor_vii_rate * (y.function - y.factor_vii),
        "albumin_g_l": t.albumin_rate * (made - y.albumin_g_l),
        "alt_u_l": t.alt_rate * (t.alt_at_rest_u_l - y.alt_u_l) + t.alt_release_u_l * lysis,
        "ast_u_l": t.ast_rate * (t.ast_at_rest_u_l - y.ast_u_l) + t.ast_release_u_l * lysis,
        "mortality_hazard": y.mortality_rate,
        "infection_incidence": y.infection_rate * untouched,
        "infection_hazard_integral": y.infection_rate,
        "device_hazard": y.device_rate,
        "hcc_hazard": z.cancer_rate * scar * watched * (1 + y.mean_division / z.cancer_division_rate),
    }
