"""Even-odd elimination: a nonsymmetric seven-point system solved on half of its cells.

With the diagonal D taken out, A = (I - G) D, and G leads from the cells of one colour to those of the other alone. The
black cells are eliminated exactly, and the red ones are left with

    (I - G_rb G_br) y_r = b_r + G_rb b_b,   y_b = b_b + G_br y_r,   x = D^-1 y.

BiCGStab on it is BiCGStab on A with two Jacobi sweeps as preconditioner, A D^-1 (I + G) = I - G^2, in half of the work.
Its residual is that of A on the red cells, and none is left on the black ones.

Reference: Saad (2003), Iterative Methods for Sparse Linear Systems, 2nd ed. (reduced system of a red-black ordering).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hepatojax.mechanism import pytree
from hepatojax.numerics.fusion import computed_once
from hepatojax.numerics.linear_solve import LinearSolution, bicgstab
from hepatojax.numerics.operators import Operator, upper_neighbour
from hepatojax.numerics.red_black import Half, checkerboard, join, split


@pytree
class EvenOdd:
    """A matrix by colour: rows of G, and the diagonal.

    red, black: G of the cells of a colour; their diagonals are 1. diagonal: D, (nz, ny, nx).
    """

    red: Half
    black: Half
    diagonal: Float[Array, "nz ny nx"]

    def reduced(self, red: Float[Array, "nz ny half"]) -> Float[Array, "nz ny half"]:
        """(I - G_rb G_br) of the red cells."""
        return red - self.red.gathered(self._to_black(red))

    def _to_black(self, red: Array) -> Array:
        """G_br; computed once, since XLA would else compute a stencil of a stencil."""
        return computed_once(self.black.gathered(red))

    def solve(self, rhs: Float[Array, "nz ny nx"], *, target: Array, max_iterations: int) -> LinearSolution:
        """Solve A x = b from zero.

        Args:
            rhs: b. target: 2-norm of b - A x at which to stop. max_iterations: cap.
        """
        red, black = split(rhs)
        load = red + self.red.gathered(black)
        zero = jnp.zeros_like(load)
        s = bicgstab(self.reduced, lambda r: r, load, zero, tolerance=1.0, scale=target, max_iterations=max_iterations)
        y = join((s.value, black + self._to_black(s.value)), rhs.shape[2])
        return LinearSolution(y / self.diagonal, s.iterations, s.residual, s.converged)


def even_odd(operator: Operator) -> EvenOdd:
    """A matrix with a positive diagonal by colour."""
    inverse = 1.0 / operator.diagonal
    forward = tuple(f * inverse for f in operator.forward)
    backward = tuple(b * upper_neighbour(inverse, axis) for axis, b in enumerate(operator.backward))
    board = checkerboard(Operator(forward, backward, jnp.ones_like(inverse)))
    return EvenOdd(board.red, board.black, operator.diagonal)
