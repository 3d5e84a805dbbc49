"""Blood tests of the liver: bilirubin, factor VII and INR, albumin, ALT, AST, creatinine.

Bilirubin, factor VII, albumin and the transaminases are states of the body, each one mixed pool dy/dt = P - D y whose
supply or loss follows the function of the whole liver, its mean inflammation or the cells that die in it; INR,
creatinine and MELD follow from them and from the load at once. A course starts at their steady values.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from hepatojax.body.scores import smooth_meld
from hepatojax.mechanism import Fields, FieldSpec, Rates, algebraic, pytree, slow
from hepatojax.numerics.safe_math import hill, safe_power
from hepatojax.parameters.registry import Scalar

FIELDS = (
    FieldSpec("bilirubin_mg_dl", "mg/dl", "body", "state", "bilirubin in plasma"),
    FieldSpec("factor_vii", "-", "body", "state", "coagulation factor VII over rest"),
    FieldSpec("albumin_g_l", "g/l", "body", "state", "albumin in plasma"),
    FieldSpec("alt_u_l", "U/l", "body", "state", "alanine aminotransferase in plasma"),
    FieldSpec("ast_u_l", "U/l", "body", "state", "aspartate aminotransferase in plasma"),
    FieldSpec("inr", "-", "body", "algebraic", "international normalised ratio"),
    FieldSpec("creatinine_mg_dl", "mg/dl", "body", "algebraic", "creatinine in plasma"),
    FieldSpec("meld", "-", "body", "algebraic", "MELD with smooth floors and no cap"),
)


@pytree
class LiverTestParameters:
    """Registry subject `liver_tests`.

    Attributes:
        bilirubin_at_rest_mg_dl: b0, of a healthy body at unit excretion [mg/dl].
        bilirubin_rate: k, turnover at unit excretion [1/h].
        bilirubin_function_exponent: n, of function in the excretion [-].
        bilirubin_inflammation: a, inhibition of the excretion by inflammation [-].
        bilirubin_other_excretion: e0, without the liver [-].
        factor_vii_rate: k7, turnover of factor VII [1/h].
        inr_exponent: n, of factor VII in the INR [-].
        inr_floor: f0, factor activity that bounds the INR [-].
        albumin_at_rest_g_l: alb0, of a healthy body [g/l].
        albumin_rate: ka, turnover [1/h].
        albumin_function_exponent: g, of function in the synthesis [-].
        albumin_inflammation: a, inhibition of the synthesis by inflammation [-].
        alt_at_rest_u_l: ALT0, of a healthy body [U/l].
        alt_rate: turnover of ALT [1/h].
        alt_release_u_l: ALT that the necrosis of a whole liver sets free [U/l].
        ast_at_rest_u_l: of a healthy body [U/l].
        ast_rate: turnover of AST [1/h].
        ast_release_u_l: AST that the necrosis of a whole liver sets free [U/l].
        creatinine_at_rest_mg_dl: Cr0, of a healthy body [mg/dl].
        creatinine_rise: a, relative rise at full functional load [-].
        creatinine_half_load: K, functional load at half of that rise [-].
        creatinine_exponent: m, Hill exponent of that rise [-].
        meld_smoothing: of the floors of the smooth MELD [-].
    """

    bilirubin_at_rest_mg_dl: Scalar
    bilirubin_rate: Scalar
    bilirubin_function_exponent: Scalar
    bilirubin_inflammation: Scalar
    bilirubin_other_excretion: Scalar
    factor_vii_rate: Scalar
    inr_exponent: Scalar
    inr_floor: Scalar
    albumin_at_rest_g_l: Scalar
    albumin_rate: Scalar
    albumin_function_exponent: Scalar
    albumin_inflammation: Scalar
    alt_at_rest_u_l: Scalar
    alt_rate: Scalar
    alt_release_u_l: Scalar
    ast_at_rest_u_l: Scalar
    ast_rate: Scalar
    ast_release_u_l: Scalar
    creatinine_at_rest_mg_dl: Scalar
    creatinine_rise: Scalar
    creatinine_half_load: Scalar
    creatinine_exponent: Scalar
    meld_smoothing: Scalar


@algebraic(
    reads=("factor_vii", "functional_excess", "bilirubin_mg_dl"),
    writes=("inr", "creatinine_mg_dl", "meld"),
)
def clinical_chemistry(fields: Fields, p: LiverTestParameters) -> dict[str, Array]:
    """INR from factor VII, creatinine from the functional load, and the smooth MELD of both and bilirubin.

        INR = ((f7 + f0)/(1 + f0))^-n,   Cr = Cr0 (1 + a H(x_f, K, m))

    Args:
        fields: factor_vii f7, functional_excess x_f [-], bilirubin_mg_dl [mg/dl], scalars.
        p: creatinine at rest Cr0 [mg/dl], floor f0, rise a, half load K, exponents n and m, smoothing of MELD [-].

    Returns:
        inr [-], creatinine_mg_dl [mg/dl], meld [-], scalars.

    Reference: BIOLOGY A9.
    """
    inr = ((fields.factor_vii + p.inr_floor) / (1.0 + p.inr_floor)) ** -p.inr_exponent
    kidney = hill(fields.functional_excess, p.creatinine_half_load, p.creatinine_exponent)
    creatinine = p.creatinine_at_rest_mg_dl * (1.0 + p.creatinine_rise * kidney)
    score = smooth_meld(fields.bilirubin_mg_dl, inr, creatinine, p.meld_smoothing)
    return {"inr": inr, "creatinine_mg_dl": creatinine, "meld": score}


@slow(reads=("bilirubin_mg_dl", "function", "mean_inflammation"), writes=("bilirubin_mg_dl",))
def bilirubin(fields: Fields, p: LiverTestParameters) -> Rates:
    """Bilirubin, excreted by function and held back by inflammation.

        db/dt = k (b0 - b e),   e = F^n / (1 + a <J>) + e0

    Args:
        fields: bilirubin_mg_dl b [mg/dl], function F, mean_inflammation <J> [-], scalars.
        p: turnover k [1/h], level at rest b0 [mg/dl], and what `excretion` reads [-].

    Returns:
        Production [mg/dl/h] and loss [1/h] of bilirubin_mg_dl.

    Reference: BIOLOGY A9.
    """
    loss = p.bilirubin_rate * excretion(fields.function, fields.mean_inflammation, p)
    supply = p.bilirubin_rate * p.bilirubin_at_rest_mg_dl
    return Rates(production={"bilirubin_mg_dl": supply}, loss={"bilirubin_mg_dl": loss})


@slow(
    reads=("factor_vii", "albumin_g_l", "function", "mean_inflammation"),
    writes=("factor_vii", "albumin_g_l"),
)
def synthesis(fields: Fields, p: LiverTestParameters) -> Rates:
    """Proteins that the liver makes: factor VII follows function in hours, albumin in weeks.

        df7/dt = k7 (F - f7),   dalb/dt = ka (alb0 F^g (1 - a <J>) - alb)

    Args:
        fields: factor_vii f7, function F, mean_inflammation <J> [-], albumin_g_l alb [g/l], scalars.
        p: turnovers k7 and ka [1/h], and what `albumin_target` reads.

    Returns:
        Production of factor_vii [1/h] and of albumin_g_l [g/l/h], loss of both [1/h].

    Reference: BIOLOGY A9.
    """
    albumin = albumin_target(fields.function, fields.mean_inflammation, p)
    return Rates(
        production={"factor_vii": p.factor_vii_rate * fields.function, "albumin_g_l": p.albumin_rate * albumin},
        loss={"factor_vii": p.factor_vii_rate, "albumin_g_l": p.albumin_rate},
    )


@slow(reads=("alt_u_l", "ast_u_l", "mean_necrosis", "liver_volume"), writes=("alt_u_l", "ast_u_l"))
def transaminases(fields: Fields, p: LiverTestParameters) -> Rates:
    """Enzymes that dying hepatocytes release.

        dALT/dt = k (ALT0 - ALT) + a <k_nec i> L,   AST alike

    Args:
        fields: alt_u_l, ast_u_l [U/l], mean_necrosis <k_nec i> [1/h], liver_volume L [-], scalars.
        p: turnovers k [1/h], levels at rest and release a [U/l].

    Returns:
        Production [U/l/h] and loss [1/h] of alt_u_l and ast_u_l.

    Reference: BIOLOGY A9; PARAMETERS I1 for AST.
    """
    lysis = fields.mean_necrosis * fields.liver_volume
    return Rates(
        production={
            "alt_u_l": p.alt_rate * p.alt_at_rest_u_l + p.alt_release_u_l * lysis,
            "ast_u_l": p.ast_rate * p.ast_at_rest_u_l + p.ast_release_u_l * lysis,
        },
        loss={"alt_u_l": p.alt_rate, "ast_u_l": p.ast_rate},
    )


def excretion(function: Array, inflammation: Array, p: LiverTestParameters) -> Array:
    """Excretion of bilirubin over its rate, e = F^n / (1 + a <J>) + e0.

    Args:
        function: F of the whole liver over rest [-].
        inflammation: <J>, volume mean [-].
        p: exponent n, inhibition a, other excretion e0 [-].

    Returns:
        e [-], 1 + e0 in health.

    Reference: BIOLOGY A9.
    """
    bile = safe_power(function, p.bilirubin_function_exponent) / (1.0 + p.bilirubin_inflammation * inflammation)
    return bile + p.bilirubin_other_excretion


def albumin_target(function: Array, inflammation: Array, p: LiverTestParameters) -> Array:
    """Albumin at constant function and inflammation, alb0 F^g (1 - a <J>).

    Args:
        function: F of the whole liver over rest [-].
        inflammation: <J>, volume mean, below 1 / a [-].
        p: level at rest alb0 [g/l], exponent g, inhibition a [-].

    Returns:
        The level that albumin tends to [g/l].

    Reference: BIOLOGY A9.
    """
    made = p.albumin_at_rest_g_l * safe_power(function, p.albumin_function_exponent)
    return made * (1.0 - p.albumin_inflammation * inflammation)


def steady_tests(
    function: Float[Array, ""], inflammation: Float[Array, ""], lysis: Float[Array, ""], p: LiverTestParameters
) -> dict[str, Float[Array, ""]]:
    """Tests at constant function, inflammation and lysis: where a course starts.

    Args:
        function: F [-].
        inflammation: <J> [-].
        lysis: <k_nec i> L [1/h].
        p: levels at rest and release, rates [1/h].

    Returns:
        bilirubin_mg_dl [mg/dl], factor_vii [-], albumin_g_l [g/l], alt_u_l and ast_u_l [U/l], at which `bilirubin`,
        `synthesis` and `transaminases` stand still.
    """
    return {
        "bilirubin_mg_dl": p.bilirubin_at_rest_mg_dl / excretion(function, inflammation, p),
        "factor_vii": function,
        "albumin_g_l": albumin_target(function, inflammation, p),
        "alt_u_l": p.alt_at_rest_u_l + p.alt_release_u_l * lysis / p.alt_rate,
        "ast_u_l": p.ast_at_rest_u_l + p.ast_release_u_l * lysis / p.ast_rate,
    }


MECHANISMS = (clinical_chemistry, bilirubin, synthesis, transaminases)
