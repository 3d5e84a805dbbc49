"""Slow, obvious NumPy twin of the body's equations, written from BIOLOGY A2, A6, A8, A9; rates per day."""

import math


def hill(c, k, n=1.0):
    return (c / k) ** n / (1 + (c / k) ** n)


def positive(y, e):
    return (y + math.sqrt(y * y + e * e)) / 2


def sigmoid(y):
    return 1 / (1 + math.exp(-y))


def growth_per_day(occupancy):
    y = occupancy - 1
    return y * (0.01 + (4 - 0.01) * sigmoid(40 * y))


def excess(fraction, tolerated=0.10):
    return positive(1 / fraction - 1 - tolerated, 0.05)


def meld(bilirubin, inr, creatinine):
    floors = [1 + positive(v - 1, 0.05) for v in (bilirubin, inr, creatinine)]
    return 3.78 * math.log(floors[0]) + 11.2 * math.log(floors[1]) + 9.57 * math.log(floors[2]) + 6.43


def chemistry(y):
    inr = ((y["factor_vii"] + 0.03) / 1.03) ** -0.58
    creatinine = 0.9 * (1 + 0.6 * hill(y["functional_excess"], 3, 2))
    return {"inr": inr, "creatinine_mg_dl": creatinine, "meld": meld(y["bilirubin_mg_dl"], inr, creatinine)}


def hazards(y):
    by_meld = 5e-4 * math.exp(0.12 * (y["meld"] - 6))
    infection = by_meld / (1 + by_meld / 0.016) * (1 + 4 * y["immune_suppression"])
    device = (
        0.1 * hill(y["mean_blocked"], 0.5, 4)
        + 0.02 * hill(positive(y["portal_gradient_relative"] - 1, 0.02), 4, 4)
        + 0.05 * hill(y["msc_lung"], 3e3, 2)
    )
    death = 2.1e-4 * math.exp(0.13 * (y["meld"] - 6)) + device + 0.3 * infection
    return infection, device, death


def derivatives(y):
    """d/dt of every state of the body [unit/d]; deaths in 1e6 cells/d, necrosis and division in 1/d."""
    f, j, tr = y["function"], y["mean_inflammation"], y["regulatory_t"]
    infection, device, death = hazards(y)
    alive_and_well = math.exp(-(y["mortality_hazard"] + 0.7 * y["infection_hazard_integral"]))
    drive = hill(y["activity"], 3) * (0.1 + hill(y["mean_macrophage_m1"], 0.4)) * (1 + 1 / 0.5) / (1 + tr / 0.5)
    lysis = y["mean_necrosis"] * y["liver_volume"]
    return {
        "effector_t": 0.15 * (drive - y["effector_t"]),
        "treg_precursors": 18 * 15 * y["potency_education"] * y["deaths_all"] / 1e4 - 0.2 * y["treg_precursors"],
        "regulatory_t": 0.0047 * (1 + 1 / 8**3) + 0.2 * y["treg_precursors"] - 0.0047 * (1 + (tr / 8) ** 3) * tr,
        "educated_monocytes": 15 * y["potency_education"] * y["deaths_education"] - 1.0 * y["educated_monocytes"],
        "immune_suppression": 0.15 * (hill(positive(tr - 1, 1e-3), 12, 2) - y["immune_suppression"]),
        "bilirubin_mg_dl": 0.7 - y["bilirubin_mg_dl"] * (f**2 / (1 + 0.5 * j) + 0.015),
        "factor_vii": 3.3 * (f - y["factor_vii"]),
        "albumin_g_l": 0.035 * (42 * f**0.4 * (1 - 0.6 * j) - y["albumin_g_l"]),
        "alt_u_l": 0.35 * (25 - y["alt_u_l"]) + 3e4 * lysis,
        "ast_u_l": 0.92 * (25 - y["ast_u_l"]) + 7.1e4 * lysis,
        "mortality_hazard": death,
        "infection_incidence": infection * alive_and_well,
        "infection_hazard_integral": infection,
        "device_hazard": device,
        "hcc_hazard": 6e-5
        * hill(y["mean_collagen"], 0.12, 4)
        * (1 + 2 * y["immune_suppression"])
        * (1 + y["mean_division"] / 0.02),
    }
