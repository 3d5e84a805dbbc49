"""Clinical scores from liver tests: MELD, MELD 3.0, Child-Pugh, ALBI. Published coefficients stand here, cited.

Floors, caps and classes belong to the definition of a score; they make it flat or jump, so they are for reports.
Hazards and gradients take `smooth_meld`, which has smooth floors and no cap.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.numerics.safe_math import positive_part

UMOL_L_PER_MG_DL_BILIRUBIN = 17.1
MELD_CAP = 40.0
MELD_CREATININE_CAP = 4.0

Level = Float[Array, "..."]


def meld(bilirubin_mg_dl: Level, inr: Level, creatinine_mg_dl: Level) -> Level:
    """Model for end-stage liver disease, with its floors and caps.

        MELD = 3.78 ln bilirubin + 11.2 ln INR + 9.57 ln creatinine + 6.43

    each level at least 1, creatinine at most 4 mg/dl, the score at most 40.

    Args:
        bilirubin_mg_dl: in plasma [mg/dl], any shape.
        inr: international normalised ratio [-], same shape.
        creatinine_mg_dl: in plasma [mg/dl], same shape.

    Returns:
        The score [-], 6.43 to 40, not rounded.

    Reference: Kamath and others, Hepatology 33 (2001) 464; Wiesner and others, Gastroenterology 124 (2003) 91.
    """
    bilirubin, ratio, creatinine = (jnp.maximum(v, 1.0) for v in (bilirubin_mg_dl, inr, creatinine_mg_dl))
    score = _meld_sum(bilirubin, ratio, jnp.minimum(creatinine, MELD_CREATININE_CAP))
    return jnp.minimum(score, MELD_CAP)


def smooth_meld(bilirubin_mg_dl: Level, inr: Level, creatinine_mg_dl: Level, smoothing: float | Level) -> Level:
    """MELD for gradients and hazards: floors 1 + P(v - 1, e), without caps.

        P(y, e) = (y + sqrt(y^2 + e^2)) / 2

    Args:
        bilirubin_mg_dl: in plasma [mg/dl], any shape.
        inr: international normalised ratio [-], same shape.
        creatinine_mg_dl: in plasma [mg/dl], same shape.
        smoothing: e, of each level over its floor of 1 [-]; a level at its floor counts as 1 + e / 2.

    Returns:
        The score [-], above the one with sharp floors.

    Reference: BIOLOGY A1, A9.
    """
    return _meld_sum(*(1.0 + positive_part(v - 1.0, smoothing) for v in (bilirubin_mg_dl, inr, creatinine_mg_dl)))


def _meld_sum(bilirubin: Array, inr: Array, creatinine: Array) -> Array:
    """The logarithms of MELD with their published weights, of levels [mg/dl, -, mg/dl] whose floors are set already."""
    return 3.78 * jnp.log(bilirubin) + 11.2 * jnp.log(inr) + 9.57 * jnp.log(creatinine) + 6.43


def meld_3(
    bilirubin_mg_dl: Level,
    inr: Level,
    creatinine_mg_dl: Level,
    albumin_g_l: Level,
    sodium_mM: float = 137.0,
    female: float = 0.0,
) -> Level:
    """MELD 3.0.

        1.33 (female) + 4.56 ln b + 0.82 (137 - Na) - 0.24 (137 - Na) ln b + 9.09 ln INR + 11.14 ln Cr
        + 1.85 (3.5 - alb) - 1.83 (3.5 - alb) ln Cr + 6

    with b, INR, Cr >= 1, Cr <= 3 mg/dl, Na in 125..137 mM, albumin in 1.5..3.5 g/dl, the score at most 40. Sodium is
    not modelled; its default is the value that adds nothing.

    Args:
        bilirubin_mg_dl: b, in plasma [mg/dl], any shape.
        inr: international normalised ratio [-], same shape.
        creatinine_mg_dl: Cr, in plasma [mg/dl], same shape.
        albumin_g_l: in plasma; the formula takes a tenth, alb in g/dl [g/l].
        sodium_mM: Na, in plasma [mM].
        female: 1 for a woman, 0 for a man [-].

    Returns:
        The score [-], not rounded.

    Reference: Kim and others, Gastroenterology 161 (2021) 1887.
    """
    bilirubin = jnp.log(jnp.maximum(bilirubin_mg_dl, 1.0))
    creatinine = jnp.log(jnp.clip(creatinine_mg_dl, 1.0, 3.0))
    missing_sodium = 137.0 - jnp.clip(jnp.asarray(sodium_mM, albumin_g_l.dtype), 125.0, 137.0)
    missing_albumin = 3.5 - jnp.clip(albumin_g_l / 10.0, 1.5, 3.5)
    score = (
        1.33 * female
        + 4.56 * bilirubin
        + (0.82 - 0.24 * bilirubin) * missing_sodium
        + 9.09 * jnp.log(jnp.maximum(inr, 1.0))
        + 11.14 * creatinine
        + (1.85 - 1.83 * creatinine) * missing_albumin
        + 6.0
    )
    return jnp.minimum(score, MELD_CAP)


def child_pugh(
    bilirubin_mg_dl: Level, albumin_g_l: Level, inr: Level, ascites: int = 1, encephalopathy: int = 1
) -> Level:
    """Child-Pugh points, 5 to 15; class A to 6, B to 9, C above.

    One, two or three points each for bilirubin below 2, to 3, above 3 mg/dl; albumin above 35, to 28, below 28 g/l;
    INR below 1.7, to 2.3, above 2.3; ascites and encephalopathy, which are not modelled, as given.

    Args:
        bilirubin_mg_dl: in plasma [mg/dl], any shape.
        albumin_g_l: in plasma [g/l], same shape.
        inr: international normalised ratio [-], same shape.
        ascites: its points, 1 (none) to 3.
        encephalopathy: its points, 1 (none) to 3.

    Returns:
        Points [-].

    Reference: Pugh and others, Br J Surg 60 (1973) 646.
    """
    bilirubin = _points(bilirubin_mg_dl, 2.0, 3.0)
    albumin = _points(-albumin_g_l, -35.0, -28.0)
    return bilirubin + albumin + _points(inr, 1.7, 2.3) + float(ascites + encephalopathy)


def _points(value: Array, second: float, third: float) -> Array:
    """1 below `second`, 3 above `third`, 2 between."""
    return 1.0 + (value >= second).astype(value.dtype) + (value > third).astype(value.dtype)


def albi(bilirubin_mg_dl: Level, albumin_g_l: Level) -> Level:
    """Albumin-bilirubin score; grade 1 up to -2.60, grade 2 up to -1.39, grade 3 above.

        ALBI = 0.66 log10(bilirubin [umol/l]) - 0.085 albumin [g/l]

    Args:
        bilirubin_mg_dl: in plasma, converted by 17.1 umol/l for 1 mg/dl [mg/dl], > 0.
        albumin_g_l: in plasma [g/l].

    Returns:
        The score [-], lower is better.

    Reference: Johnson and others, J Clin Oncol 33 (2015) 550.
    """
    return 0.66 * jnp.log10(UMOL_L_PER_MG_DL_BILIRUBIN * bilirubin_mg_dl) - 0.085 * albumin_g_l
