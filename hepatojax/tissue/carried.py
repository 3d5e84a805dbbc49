"""Linear balance of something carried: A(p) x = b(p) with A an M-matrix, solved and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.numerics.linear_solve import LinearSolution, bicgstab
from hepatojax.numerics.operators import Operator, neighbour_sum
from hepatojax.numerics.quasi_steady import implicit_solution
from hepatojax.tissue.transport import adjoint_tolerance, default_tolerance

MAX_LINEAR = 1000


def solve_transport(operator: Operator, rhs: Array, guess: Array, *, tolerance: float) -> LinearSolution:
    """BiCGStab with two Jacobi sweeps, which carry the answer along the flow at the price of one."""
    scale = 1.0 / operator.diagonal

    def two_jacobi_sweeps(r: Array) -> Array:
        return scale * (r + neighbour_sum(operator, scale * r))

    return bicgstab(operator, two_jacobi_sweeps, rhs, guess, tolerance=tolerance, max_iterations=MAX_LINEAR)


def positive_solution(
    equations: Callable[[Any], tuple[Operator, Array]],
    parameters: Any,
    guess: Float[Array, "nz ny nx"],
    *,
    tolerance: float | None = None,
) -> LinearSolution:
    """The solution x >= 0 of A(p) x = b(p), where A is an M-matrix and b >= 0; differentiable in the parameters.

    Negative values within the tolerance of the solve are set to zero; the derivative is that of the equations.

    Args:
        equations: parameters -> (A, b); closes over no traced value.
        parameters: any pytree of arrays. guess: start, (nz, ny, nx).
        tolerance: relative to the 2-norm of b; 1e-10 in float64, 1e-5 in float32.
    """
    tolerance = default_tolerance(guess.dtype) if tolerance is None else tolerance

    def residual(parameters: Any, x: Array) -> Array:
        operator, rhs = equations(parameters)
        return operator(x) - rhs

    def solve(parameters: Any, guess: Array) -> tuple[Array, tuple]:
        s = solve_transport(*equations(parameters), guess, tolerance=tolerance)
        return jnp.maximum(s.value, 0), (s.iterations, s.residual, s.converged)

    def linear_solve(parameters: Any, _: Array, rhs: Array, transposed: bool) -> Array:
        operator, _ = equations(parameters)
        operator = operator.transposed if transposed else operator
        return solve_transport(operator, rhs, jnp.zeros_like(rhs), tolerance=adjoint_tolerance(rhs.dtype)).value

    x, evidence = implicit_solution(residual, solve, linear_solve, parameters, guess)
    return LinearSolution(x, *evidence)
