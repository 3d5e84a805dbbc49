"""Operators and fluxes once more as dense matrices and loops over faces, in NumPy; slow and obvious."""

from decimal import Decimal, getcontext
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from hepatojax.numerics.operators import Operator
from hepatojax.tissue.transport import WideOperator

getcontext().prec = 120


def unit(axis):
    """The step from a cell to the next along an axis."""
    return np.eye(3, dtype=int)[axis]


def inner_faces(shape, axis):
    """Pairs of cells (below, above) that share a face across an axis."""
    for cell in np.ndindex(shape):
        if cell[axis] + 1 < shape[axis]:
            yield cell, tuple(np.asarray(cell) + unit(axis))


def random_faces(shape, seed, open_share=1.0):
    """Positive coefficients of all inner faces, some of them closed, zero on the last plane."""
    rng = np.random.default_rng(seed)
    faces = []
    for axis in range(3):
        face = rng.uniform(0.2, 3.0, shape) * (rng.random(shape) < open_share)
        np.moveaxis(face, axis, 0)[-1] = 0.0
        faces.append(face)
    return tuple(faces)


def as_jax(faces, dtype=jnp.float64):
    return tuple(jnp.asarray(face, dtype) for face in faces)


def flux_matrix(forward, backward, sink):
    """Matrix of  sum of outgoing fluxes + s u,  flux = forward u_below - backward u_above, face by face."""
    shape = np.shape(sink)
    index = np.arange(np.size(sink)).reshape(shape)
    matrix = np.diag(np.asarray(sink, float).ravel())
    for axis in range(3):
        for below, above in inner_faces(shape, axis):
            i, j = index[below], index[above]
            out, back = float(forward[axis][below]), float(backward[axis][below])
            matrix[i, i] += out
            matrix[i, j] -= back
            matrix[j, i] -= out
            matrix[j, j] += back
    return matrix


def with_identity_rows(matrix):
    """The same with 1 on an empty diagonal, as a cell without tissue has it."""
    return matrix + np.diag((np.diag(matrix) == 0.0).astype(float))


def columns_of(linear, shape, dtype=jnp.float64):
    """Matrix of a linear map of fields, by its action on every unit field."""
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape).astype(dtype)
    images = _mapped(linear, units) if isinstance(linear, Operator | WideOperator) else jax.jit(jax.vmap(linear))(units)
    return np.asarray(images, float).reshape(len(units), -1).T


@jax.jit
def _mapped(operator, units):
    """All units at once; operators of one shape share a compilation."""
    return jax.vmap(operator)(units)


def upwind_coefficients(flux, conductance):
    """forward and backward of one face."""
    return conductance + (flux if flux > 0 else 0.0), conductance + (-flux if flux < 0 else 0.0)


def exponential_coefficients(flux, conductance):
    """forward and backward of one face with 120 digits: q e^(q/T) / (e^(q/T) - 1) and q / (e^(q/T) - 1)."""
    if conductance == 0.0:
        return upwind_coefficients(flux, 0.0)
    if abs(flux) < 1e-50 * conductance:
        return conductance, conductance
    growth = (Decimal(flux) / Decimal(conductance)).exp()
    return float(Decimal(flux) * growth / (growth - 1)), float(Decimal(flux) / (growth - 1))


def limited_flux(flux, conductance, field):
    """Per axis the upwind flux and its van Albada correction, face by face; conductance only opens faces."""
    result = []
    for axis in range(3):
        through = np.zeros(field.shape)
        for below, above in inner_faces(field.shape, axis):
            q = flux[axis][below]
            up, down = (below, above) if q > 0 else (above, below)
            behind = tuple(np.asarray(up) + (-unit(axis) if q > 0 else unit(axis)))
            upstream_face = behind if q > 0 else up
            value = field[up]
            inside = 0 <= behind[axis] < field.shape[axis]
            if inside and conductance[axis][upstream_face] > 0 and conductance[axis][below] > 0:
                a, b = field[up] - field[behind], field[down] - field[up]
                if a * b > 0:
                    value = value + 0.5 * a * b * (a + b) / (a * a + b * b)
            through[below] = q * value
        result.append(through)
    return tuple(result)


def divergence(flux):
    """Net outflow of every cell, face by face."""
    total = np.zeros(np.shape(flux[0]))
    for axis in range(3):
        for below, above in inner_faces(total.shape, axis):
            total[below] += flux[axis][below]
            total[above] -= flux[axis][below]
    return total


def solved_exactly(matrix, rhs):
    """Solution of a linear system of rational numbers, by elimination without round-off; no pivot may vanish."""
    rows = [[Fraction(a) for a in row] + [Fraction(b)] for row, b in zip(matrix, rhs, strict=True)]
    for pivot, lead in enumerate(rows):
        rows[pivot] = lead = [a / lead[pivot] for a in lead]
        for i, row in enumerate(rows):
            if i != pivot:
                rows[i] = [a - row[pivot] * b for a, b in zip(row, lead, strict=True)]
    return [row[-1] for row in rows]


def decay_mean(z):
    """(1 - e^-z) / z with 120 digits."""
    z = Decimal(z)
    return Decimal(1) if z == 0 else (1 - (-z).exp()) / z


def decay_mean_slope(z):
    """Its derivative, (e^-z - mean) / z; -1/2 at zero."""
    return Decimal("-0.5") if Decimal(z) == 0 else ((-Decimal(z)).exp() - decay_mean(z)) / Decimal(z)


def hill_slopes(c, half, n):
    """Derivatives of c^n / (K^n + c^n) by c, K and n with 120 digits, c > 0."""
    c, half, n = Decimal(c), Decimal(half), Decimal(n)
    power = ((c / half).ln() * n).exp()
    by_logarithm = power / (1 + power) ** 2
    return by_logarithm * n / c, -by_logarithm * n / half, by_logarithm * (c / half).ln()
