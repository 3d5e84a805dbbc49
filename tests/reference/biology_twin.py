"""The pointwise biology once more, slow and obvious: NumPy, per day, with numbers typed from BIOLOGY part A.

It shares no code and no number file with the package. Forms that differ from the page follow the package's docstrings:
the collateral path and the positive part in the conductance, the Poisson mean of the contact (taken from
the package in the rates, and compared with the series on its own), VEGF relative to rest, an oxygen zonation of 0.35.
Numbers that the page does not state are the registry's: secretion of VEGF and CXCL12, loss of engrafted MSC and label,
collateral share, contact volume, rate and zonation of a toxin.
"""

import math

import numpy as np


def H(c, K, n=1.0):
    return (c / K) ** n / (1 + (c / K) ** n)


def P(y, e):
    return (y + np.sqrt(y * y + e * e)) / 2


def nM_per_day(ng, cells, mass):
    """A3: (ng/1e6/d)(1e6 cells/l)/(g/mol)."""
    return ng * cells / (mass * 1e3)


def poisson_contact(msc, m1):
    """Series of E[M/(m1+M+0.05)], M = N/15, N ~ Poisson(msc x 1e-3 mm3)."""
    mean, total = msc * 1e-3, 0.0
    for n in range(1, 150):
        weight = math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1))
        total += weight * (n / 15) / (m1 + n / 15 + 0.05)
    return total


def licensing(y):
    return 1 + 3 * (y["licensed"] + (1 - y["licensed"]) * H(y["mean_tnf"], 0.03))


def before_oxygen(y):
    out = {}
    out["collagen"] = y["collagen_fresh"] + y["collagen_crosslinked"]
    out["occupancy"] = (
        y["quiescent"]
        + 1.5 * y["primed"]
        + y["injured"]
        + y["msc_derived"]
        + 0.8 * y["debris"]
        + (out["collagen"] - 0.03)
    )
    out["room"] = 1 / (1 + np.exp(-(1.35 - out["occupancy"]) / 0.06))
    out["blocked"] = 1 - np.exp(-y["plugging"])
    openness = P(1 - out["collagen"] / 0.6, 0.01) / P(1 - 0.03 / 0.6, 0.01)
    out["conductance_factor"] = 0.02 + 0.98 * y["vascular_integrity"] * openness**2 * (1 - out["blocked"])
    cells = y["quiescent"] + 1.3 * y["primed"] + 0.8 * y["injured"] + 0.5 * y["msc_derived"]
    cells = cells + 0.05 * (y["macrophage_m1"] + y["macrophage_m2"])
    out["oxygen_demand"] = 4.4e-2 * (1 + 0.35 * (1 - 2 * y["zone"])) * cells
    return out


def after_oxygen(y):
    out = {"atp": H(y["oxygen"], 2, 2), "hypoxia": 1 - H(y["oxygen"], 10, 2)}
    cells = y["quiescent"] + 0.7 * y["primed"] + 0.3 * y["injured"] + 0.3 * y["msc_derived"]
    out["mass_local"] = cells * out["atp"]
    out["function_local"] = out["mass_local"] * y["identity"] * (1 - 0.35 * y["capillarisation"])
    return out


def secretions(y, o):
    """[nM/d]"""
    msc = y["msc_adherent"] + y["msc_engrafted"]
    m1, m2, s, load = y["macrophage_m1"], y["macrophage_m2"], y["stellate"], y["load_response"]
    lic = licensing(y)
    return {
        "tnf": nM_per_day(2, 1.5e4 * m1, 51),
        "il6": nM_per_day(3, 1.5e4 * m1, 24) + nM_per_day(0.1 * (1 + 100 * load), 1.5e4, 24),
        "il10": nM_per_day(0.3, 1.5e4 * m2, 37),
        "tgf_beta": 0.3
        * (
            nM_per_day(3, 1.2e4 * (s + y["myofibroblast"]), 25)
            + nM_per_day(0.1, 1.5e4 * m2, 25)
            + nM_per_day(0.5, msc, 25)
        ),
        "vegf": nM_per_day(0.2, 1.2e5 * (1 + 2 * o["hypoxia"]), 45) + nM_per_day(1.5, msc * y["potency_vegf"], 45),
        "cxcl12": nM_per_day(1, 1.2e5 * (1 + 3 * H(y["debris"], 0.1, 1.5)), 8) + nM_per_day(1.5, msc, 8),
        "hgf": nM_per_day(0.742, 1.2e5 * (1 + 20 * load), 88)
        + nM_per_day(1, 1.5e4 * (m2 - 1), 88)
        + nM_per_day(2, 1.2e4 * (s - 0.1), 88)
        + nM_per_day(lic, msc * y["potency_hgf"], 88),
    }


def responses(y, o):
    """[-] and [1/d]"""
    out = {"T": H(y["tnf"], 0.025, 2)}
    out["J"] = P((H(y["tnf"], 0.008) - y["rest_inflammation"]) / (1 - y["rest_inflammation"]), 0.002)
    out["hgf_active"] = 0.1 * (1 + 4 * 1.3 * H(y["load_response"], 0.3) + 2 * H(y["debris"], 0.1)) * y["hgf"]
    brake = 1 / (1 + 3 * out["J"])
    out["loc"] = 0.6 * H(P(1 - o["occupancy"], 0.02), 0.25, 2) * brake
    pr0 = H(y["il6"] + 0.5 * y["tnf"], 0.05) * brake
    out["prime"] = pr0 + (1 - pr0) * out["loc"]
    g0 = H(out["hgf_active"], 0.03, 1.5) / (1 + y["tgf_beta"] / 0.02)
    out["G"] = g0 + (1 - g0) * out["loc"] * o["atp"]
    weight = np.exp(0.0 * (y["zone"] - 0.5))
    out["k_inj"] = (
        y["activity"] * (0.002 + 0.025 * y["effector_t"]) * weight
        + 6 * y["toxin_response"] * np.exp(2.3 * (y["zone"] - 0.5)) / y["mean_toxin_weight"]
        + 0.5 * out["T"]
        + 2 * (1 - o["atp"]) ** 2
        + 1.0 * H(y["load_excess"], 3.8, 5)
    )
    out["k_rep"] = 0.7 * o["atp"] / (1 + 2 * out["T"])
    out["k_nec"] = 0.25 * (1 + out["T"] + 4 * (1 - o["atp"]))
    out["g"] = y["vegf"] / y["rest_vegf"]
    return out


def hepatocytes(y, o, r):
    """dy/dt [1/d]"""
    q, p, i, d = y["quiescent"], y["primed"], y["injured"], y["debris"]
    a = 1.4 * r["prime"] * o["atp"] * o["room"]
    b = 1.4 * r["G"] * o["atp"] * o["room"]
    back = 2.0 * (1 - r["G"])
    clear = 0.55 * (y["macrophage_m1"] + 1.5 * y["macrophage_m2"]) / 2
    return {
        "quiescent": 2 * b * p + back * p + r["k_rep"] * i - (a + r["k_inj"] + 24 * y["rest_apoptosis"]) * q,
        "primed": a * q - (b + back + r["k_inj"]) * p,
        "injured": r["k_inj"] * (q + p) - (r["k_rep"] + r["k_nec"]) * i,
        "debris": r["k_nec"] * i - clear * d,
        "identity": 0.04 - (0.04 + 0.12 * r["J"]) * y["identity"],
        "zonation": (H(y["oxygen"], 40, 3) - y["zonation"]) / 5,
    }


def macrophages(y, contact):
    """dy/dt [1/d]; contact: share of M1 in contact with MSC."""
    m1, m2, e, d = y["macrophage_m1"], y["macrophage_m2"], y["macrophage_educated"], y["debris"]
    rec = 0.01 + 3 * H(d, 0.1, 1.5) * (1 + H(y["tnf"], 0.025)) + 0.5 * y["effector_t"]
    rec = rec + 0.3 * H(P(y["portal_gradient_relative"] - 1, 0.02), 2, 2)
    lic = licensing(y)
    sw = 0.1 + 0.5 * H(d, 0.05) + 1.2 * H(y["il10"], 0.027)
    sw = sw + 5 * lic * y["potency_contact"] * contact + 5 * e / (m1 + e + 0.05)
    influx = 24 * y["education_influx"]
    return {
        "macrophage_m1": rec - (0.15 + sw) * m1,
        "macrophage_m2": sw * m1 + 0.1 * y["rest_m2_influx"] + influx - 0.1 * m2,
        "macrophage_educated": influx - 0.2 * e,
    }


def matrix_and_vessels(y, o, r):
    """dy/dt [1/d]"""
    s, m2, myo, tgf = y["stellate"], y["macrophage_m2"], y["myofibroblast"], y["tgf_beta"]
    msc = y["msc_adherent"] + y["msc_engrafted"]
    drive = H(tgf, 0.02, 2) + 0.5 * r["T"] + 0.5 * H(y["debris"], 0.1, 1.5) + 1.5 * r["J"]
    A = 0.35 * (drive + y["rest_stellate_activation"])
    mmp = 1 + 0.5 * (m2 - 1) / (1 + m2) + 3 * msc / 1.5e4
    deposition = 24 * y["rest_collagen_deposition"] * (s + myo)
    deposition = deposition * (1 + 2 * H(tgf, 0.02)) / (1 + 2 * y["rest_tgf_response"])
    c1, c2, v, cap = y["collagen_fresh"], y["collagen_crosslinked"], y["vascular_integrity"], y["capillarisation"]
    help_ = (r["g"] - 1) / (1 + r["g"])
    S = P(s - 0.12, 0.02) / 0.88
    died = 0.46 * y["msc_adherent"] + 0.01 * y["msc_engrafted"]
    return {
        "stellate": A * (1 - s) - 0.12 * (1 + 0.3 * m2 / (1 + m2)) * s,
        "myofibroblast": 0.05 * died / 1.2e4 - 0.03 * myo,
        "collagen_fresh": deposition - (0.012 * mmp + 0.004) * c1,
        "collagen_crosslinked": 0.004 * c1 - 0.0012 * mmp * c2,
        "vascular_integrity": 0.25 * (1 + help_) * (1 - v) - 0.25 * (r["T"] + (1 - o["atp"])) * v,
        "capillarisation": 0.012 * S * (1 - cap) - 0.010 * (1 + P(m2 - 1, 0.01) / (1 + m2) + help_) * cap,
    }


def stem_cells(y):
    """dy/dt [1/d]"""
    return {
        "msc_adherent": -0.46 * y["msc_adherent"],
        "msc_engrafted": -0.01 * y["msc_engrafted"],
        "msc_derived": 0.0 * y["msc_derived"],
        "msc_label": -0.02 * y["msc_label"],
        "plugging": -1.0 * y["plugging"],
    }
