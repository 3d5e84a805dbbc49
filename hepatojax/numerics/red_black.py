"""Red-black Gauss-Seidel on cells stored by colour, so that a half-sweep touches half the memory.

A cell is red where z + y + x is even. Colour c of a field is packed along x to (nz, ny, nx/2): entry i holds the cell
x = 2 i + p, p = (z + y + c) mod 2. Neighbours along z and y keep their i; of the two along x one keeps it too and the
other is at i + 1 (p = 1) or i - 1 (p = 0). An odd row is padded by an empty cell.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from hepatojax.mechanism import pytree, static
from hepatojax.numerics.operators import Operator, lower_neighbour, upper_neighbour

RED, BLACK = 0, 1
Pair = tuple[Array, Array]  # a field by colour: red, black


@pytree
class Half:
    """Rows of one colour: six weights of the neighbours over the diagonal, and the diagonal; each (nz, ny, nx/2).

    Attributes:
        weights: upper and lower along z, upper and lower along y, along x the neighbour at the same i and the other
            one [-].
        diagonal: of the operator, in its unit; 1 in a cell of padding.
        colour: `RED` or `BLACK`.
    """

    weights: tuple[Float[Array, "nz ny half"], ...]
    diagonal: Float[Array, "nz ny half"]
    colour: int = static()

    def solved(self, rhs: Float[Array, "nz ny half"], other: Float[Array, "nz ny half"]) -> Float[Array, "nz ny half"]:
        """The cells of this colour that solve their own rows, u_i = b_i / d_i + sum of w u_neighbour.

        Args:
            rhs: b / d of this colour, packed [unit of u].
            other: u of the other colour, packed.

        Returns:
            u of this colour, packed (nz, ny, nx/2).
        """
        return rhs + self.gathered(other)

    def gathered(self, other: Float[Array, "nz ny half"]) -> Float[Array, "nz ny half"]:
        """Weighted sum of the six neighbours of the cells of this colour.

        Args:
            other: u of the other colour, which all neighbours have, packed.

        Returns:
            sum of w u_neighbour [unit of u], packed (nz, ny, nx/2).
        """
        near = [shift(other, axis) for axis in (0, 1) for shift in (upper_neighbour, lower_neighbour)]
        second = _second(other.shape, self.colour)
        beside = jnp.where(second, upper_neighbour(other, 2), lower_neighbour(other, 2))
        return sum((w * n for w, n in zip(self.weights, (*near, other, beside), strict=True)), jnp.zeros_like(other))


@pytree
class Checkerboard:
    """An operator by colour.

    Attributes:
        red: rows of the red cells.
        black: rows of the black cells.
        cells_x: unpadded length of a row, nx.
    """

    red: Half
    black: Half
    cells_x: int = static()

    def scaled(self, rhs: Float[Array, "nz ny nx"]) -> Pair:
        """A right-hand side by colour, over the diagonal.

        Args:
            rhs: b [unit of A u], (nz, ny, nx).

        Returns:
            b / d of the red and of the black cells [unit of u], packed.
        """
        red, black = split(rhs)
        return red / self.red.diagonal, black / self.black.diagonal

    def red_black(self, rhs: Pair, guess: Pair, sweeps: int) -> Pair:
        """Gauss-Seidel sweeps, red cells first.

        Args:
            rhs: from `scaled`.
            guess: u by colour, packed; what it says of red is not read.
            sweeps: over both colours.

        Returns:
            u by colour, packed, with the black rows exact.
        """

        def sweep(_: Array, pair: Pair) -> Pair:
            red = self.red.solved(rhs[RED], pair[BLACK])
            return red, self.black.solved(rhs[BLACK], red)

        return lax.fori_loop(0, sweeps, sweep, guess)

    def black_red(self, rhs: Pair, guess: Pair, sweeps: int) -> Pair:
        """Gauss-Seidel sweeps, black cells first; the transposed order of `red_black`.

        Args:
            rhs: from `scaled`.
            guess: u by colour, packed; what it says of black is not read.
            sweeps: over both colours.

        Returns:
            u by colour, packed, with the red rows exact.
        """

        def sweep(_: Array, pair: Pair) -> Pair:
            black = self.black.solved(rhs[BLACK], pair[RED])
            return self.red.solved(rhs[RED], black), black

        return lax.fori_loop(0, sweeps, sweep, guess)

    def red_black_from_zero(self, rhs: Pair, sweeps: int) -> tuple[Pair, Float[Array, "nz ny half"]]:
        """`red_black` from zero, and the residual of the red cells; that of the black ones is zero.

        The first red half-sweep is then the right-hand side itself, and one more at the end gives the residual.

        Args:
            rhs: from `scaled`.
            sweeps: over both colours.

        Returns:
            u by colour; and b - A u of the red cells [unit of A u]; all packed.
        """

        def sweep(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            _, _, red = carry
            black = self.black.solved(rhs[BLACK], red)
            return red, black, self.red.solved(rhs[RED], black)

        red, black, following = lax.fori_loop(0, sweeps, sweep, (rhs[RED], rhs[BLACK], rhs[RED]))
        return (red, black), self.red.diagonal * (following - red)


def checkerboard(operator: Operator) -> Checkerboard:
    """The operator by colour.

    Args:
        operator: A; its coefficients are divided by the diagonal of the row that they stand in.

    Returns:
        Its rows, red and black apart.
    """
    diagonal = split(operator.diagonal, 1.0)
    upper = [split(b) for b in operator.backward]
    lower = [split(lower_neighbour(f, a)) for a, f in enumerate(operator.forward)]
    red, black = (_half(diagonal[c], [u[c] for u in upper], [w[c] for w in lower], c) for c in (RED, BLACK))
    return Checkerboard(red, black, operator.diagonal.shape[2])


def split(field: Float[Array, "nz ny nx"], padding: float = 0.0) -> Pair:
    """Red and black cells of a field, packed.

    Args:
        field: [any unit], (nz, ny, nx).
        padding: fills the empty cell of an odd row [same unit].

    Returns:
        Red and black, each (nz, ny, nx/2), with nx rounded up to an even number.
    """
    field = jnp.pad(field, [(0, 0), (0, 0), (0, field.shape[2] % 2)], constant_values=padding)
    pairs = field.reshape(*field.shape[:2], -1, 2)
    second = _second(pairs.shape[:3], RED)
    first, last = pairs[..., 0], pairs[..., 1]
    return jnp.where(second, last, first), jnp.where(second, first, last)


def join(pair: Pair, cells_x: int) -> Float[Array, "nz ny nx"]:
    """The field of packed red and black cells.

    Args:
        pair: red and black [any unit], each (nz, ny, nx/2).
        cells_x: nx, which cuts the padding of an odd row.

    Returns:
        The field, (nz, ny, nx).
    """
    red, black = pair
    second = _second(red.shape, RED)
    both = jnp.stack([jnp.where(second, black, red), jnp.where(second, red, black)], axis=-1)
    return both.reshape(*red.shape[:2], -1)[..., :cells_x]


def _half(diagonal: Array, upper: list[Array], lower: list[Array], colour: int) -> Half:
    """Rows of one colour from the coefficients of its neighbours along z, y and x, packed like the cells themselves."""
    upper, lower = ([coefficient / diagonal for coefficient in each] for each in (upper, lower))
    second = _second(diagonal.shape, colour)
    same, beside = jnp.where(second, lower[2], upper[2]), jnp.where(second, upper[2], lower[2])
    return Half((upper[0], lower[0], upper[1], lower[1], same, beside), diagonal, colour)


def _second(shape: tuple[int, ...], colour: int) -> Bool[Array, "nz ny half"]:
    """True where the cell of a colour is the second of its two along x."""
    return (lax.broadcasted_iota(jnp.int32, shape, 0) + lax.broadcasted_iota(jnp.int32, shape, 1) + colour) % 2 == 1
