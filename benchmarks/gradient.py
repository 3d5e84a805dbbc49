"""Gradient of a 28-day reaction-diffusion problem against diffrax, and its truth at any stiffness.

    python benchmarks/gradient.py [cells an axis, default 64] [--json FILE]

First table: u_t = D lap u + r u (1 - u) - dose(t) u in a closed box of unit cells, 112 steps over 28 days, one dose a
day, float32; the sum of u at the end is differentiated by D, r and all 28 doses. Ours is Strang splitting, exact growth
round an implicit midpoint step of diffusion with an implicit derivative, under `scan_steps`. Peers are diffrax (Tsit5
with fixed steps, RecursiveCheckpointAdjoint) and a plain scan of RK4, with the stencil that suits them best. In one
diffrax solve over all days the last stage of a day, whose weight is 2.3, reads the next day's dose: that row solves
another problem. One solve a day, checkpointed by day, reads the right one. CPU seconds are medians of runs in turns on
one core; compile time stands apart. Our distance from RK4 holds the error in time of a second-order scheme; our own
scheme against its float64 differences follows. Expect at 64^3 a gradient at 0.16 to 0.24 of the CPU seconds of either
diffrax row; "two-level" in less memory than diffrax, "saved" in more.

Second table: u_t = D lap u + s with random initial field and supply, second-order L-stable steps, and w . u(T), at
12 D T / dx^2 from 10 to 1e6. Without a supply the derivative would be that of exp(-140) and less from 1e5 on. dJ/dD is
set against central differences of the same scheme and against the exact answer by cosine transform. Expect 1e-10
against differences everywhere, where integrating the state back in time (diffrax BacksolveAdjoint) leaves no digit from
100 on. Both tables take about 3.5 minutes of CPU.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array, lax
from jax.typing import ArrayLike
from records import run, told

from hepatojax.checks.records import Record, at_most, reported
from hepatojax.numerics.adjoint import scan_steps
from hepatojax.numerics.linear_solve import conjugate_gradient
from hepatojax.numerics.operators import Operator, assemble
from hepatojax.numerics.quasi_steady import implicit_solution

DAYS, STEPS_A_DAY = 28, 4
STEPS, STEP_D = DAYS * STEPS_A_DAY, 1.0 / STEPS_A_DAY
DIFFUSIVITY, GROWTH_1_D, DOSE_1_D = 0.05, 0.2, 0.1  # cell widths^2 a day
CHECKPOINTS = 16
TOLERANCE = {"float32": 1e-7, "float64": 1e-12}
MAX_ITERATIONS = 1000
REPEATS = 5
RATIO_BOUND, PEER_BOUND = 3.5, 0.5  # of our own value; of the gradient by diffrax
ERROR_BOUND = {"float64": 1e-6, "float32": 1e-3}  # against differences
SDIRK = 1.0 - math.sqrt(0.5)  # diagonal of the two-stage, second-order, L-stable, stiffly accurate scheme

PLAIN, ONCE, DAILY = "scan of RK4", "diffrax, one solve", "diffrax, solve a day"
SAVED, TWO_LEVEL = "hepatojax, saved", "hepatojax, two-level"

STIFF_CELLS = 24
STIFFNESS = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)  # 12 D T / dx^2
REVERSIBLE = 1e3  # the reverse-time adjoint is NaN here, and at 1e4 still
EXPLICIT_LIMIT = 2.5  # 12 D dt / dx^2 of Tsit5


class Controls(NamedTuple):
    """What the objective is differentiated by: diffusivity [width2/day], growth [1/day], doses [1/day], (28,)."""

    diffusivity: ArrayLike
    growth: ArrayLike
    doses: ArrayLike


Objective = Callable[[Controls], Array]


class Timing(NamedTuple):
    """A compiled function: median CPU [s], temporaries [MiB], time to compile [s], and its last result."""

    cpu: float
    memory: float
    compiled: float
    result: Any


# the problem


def controls(dtype: str) -> Controls:
    """Doses on five days of seven."""
    doses = DOSE_1_D * (np.arange(DAYS) % 7 < 5)
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), Controls(DIFFUSIVITY, GROWTH_1_D, doses))


def tumour(cells: int, dtype: str) -> Array:
    """A Gaussian of height a half off the middle of the box, (cells, cells, cells)."""
    z, y, x = np.meshgrid(*3 * [(np.arange(cells) - 0.45 * cells) / (cells / 8)], indexing="ij")
    return jnp.asarray(0.5 * np.exp(-(x**2 + y**2 + z**2)), dtype)


def laplacian(cells: int, dtype: str) -> Operator:
    """-lap on unit cells in a closed box [1/width2]."""
    faces = []
    for axis in range(3):
        face = np.ones(3 * (cells,))
        np.moveaxis(face, axis, 0)[-1] = 0.0
        faces.append(jnp.asarray(face, dtype))
    return assemble(tuple(faces), tuple(faces), jnp.zeros_like(faces[0]))


# ours


def diffused(matrix: Operator, reach: Array, start: Array) -> Array:
    """Solve  (x - start) / reach = lap x  by conjugate gradients, with an implicit derivative by reach and start.

    Divided by the reach the residual has no stencil in its derivative by it.

    Args:
        matrix: from `laplacian`. reach: diffusivity times time [width2]. start: (nz, ny, nx).
    """

    def apply(inertia: Array, x: Array) -> Array:
        return inertia * x + matrix(x)

    def solve(inertia: Array, rhs: Array, guess: Array) -> tuple[Array, Array]:
        tolerance = TOLERANCE[str(rhs.dtype)]
        s = conjugate_gradient(
            partial(apply, inertia), lambda r: r, rhs, guess, tolerance=tolerance, max_iterations=MAX_ITERATIONS
        )
        return s.value, s.converged

    return implicit_solution(
        residual=lambda p, x: matrix(x) + p[0] * (x - p[1]),
        solve=lambda p, guess: solve(p[0], p[0] * p[1], guess),
        linear_solve=lambda p, _, rhs, start, transposed: solve(p[0], rhs, start),  # symmetric
        parameters=(1.0 / reach, start),
        guess=start,
    )[0]


def grown(u: Array, growth: Array, dose: Array, duration: float) -> Array:
    """Exact  u' = r u (1 - u) - dose u  over a duration [day]; finite in value and derivative at r = dose."""
    net = growth - dose
    small = jnp.abs(net) < 1e-4
    safe = jnp.where(small, 1.0, net)
    exposure = jnp.where(small, duration * (1 + 0.5 * net * duration), jnp.expm1(safe * duration) / safe)
    return u * (1 + net * exposure) / (1 + growth * exposure * u)


def ours(start: Array, matrix: Operator, adjoint: str, c: Controls) -> Array:
    """Sum of u at the end, by Strang splitting."""

    def step(carry: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        u, n = carry
        dose = c.doses[n // STEPS_A_DAY]
        u = grown(u, c.growth, dose, 0.5 * STEP_D)
        u = 2.0 * diffused(matrix, 0.5 * STEP_D * c.diffusivity, u) - u  # implicit midpoint
        return (grown(u, c.growth, dose, 0.5 * STEP_D), n + 1), None

    checkpoints = CHECKPOINTS if adjoint == "two-level" else None
    (u, _), _ = scan_steps(step, (start, jnp.zeros((), jnp.int32)), STEPS, adjoint, checkpoints)
    return jnp.sum(u)


# peers


def rate(u: Array, degree: Array, diffusivity: Array, growth: Array, dose: Array) -> Array:
    """du/dt [1/day] with the stencil that XLA:CPU compiles best, pad once and slice; degree: neighbours of a cell."""
    p, c = jnp.pad(u, 1), slice(1, -1)
    total = p[2:, c, c] + p[:-2, c, c] + p[c, 2:, c] + p[c, :-2, c] + p[c, c, 2:] + p[c, c, :-2]
    return diffusivity * (total - degree * u) + growth * u * (1 - u) - dose * u


def plain(start: Array, degree: Array, c: Controls) -> Array:
    """Sum of u at the end, by RK4 in a scan that keeps whatever the reverse pass reads."""

    def step(u: Array, n: Array) -> tuple[Array, None]:
        f = partial(rate, degree=degree, diffusivity=c.diffusivity, growth=c.growth, dose=c.doses[n // STEPS_A_DAY])
        k1 = f(u)
        k2 = f(u + 0.5 * STEP_D * k1)
        k3 = f(u + 0.5 * STEP_D * k2)
        k4 = f(u + STEP_D * k3)
        return u + STEP_D / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    return jnp.sum(lax.scan(step, start, jnp.arange(STEPS))[0])


def tsit5(
    f: Callable[[Array, Array, Any], Array],
    start: Array,
    days: float,
    steps: int,
    args: Any,
    adjoint: diffrax.AbstractAdjoint,
) -> Array:
    """u at the end of equal steps from time zero by diffrax."""
    end, step = (jnp.asarray(t, start.dtype) for t in (days, days / steps))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(f),
        diffrax.Tsit5(),
        jnp.zeros_like(end),
        end,
        step,
        start,
        args=args,
        adjoint=adjoint,
        max_steps=steps + 1,
    )
    return solution.ys[0]


def diffrax_once(start: Array, degree: Array, c: Controls) -> Array:
    """Sum of u at the end, one solve over all days that looks the dose up by time."""

    def f(t: Array, u: Array, c: Controls) -> Array:
        day = jnp.clip(jnp.floor(t).astype(int), 0, DAYS - 1)
        return rate(u, degree, c.diffusivity, c.growth, c.doses[day])

    return jnp.sum(tsit5(f, start, DAYS, STEPS, c, diffrax.RecursiveCheckpointAdjoint()))


def diffrax_daily(start: Array, degree: Array, c: Controls) -> Array:
    """Sum of u at the end, one solve a day with that day's dose, checkpointed by day."""

    @jax.checkpoint
    def day(u: Array, dose: Array) -> tuple[Array, None]:
        def f(_: Array, u: Array, args: tuple) -> Array:
            return rate(u, degree, *args)

        args = (c.diffusivity, c.growth, dose)
        return tsit5(f, u, 1.0, STEPS_A_DAY, args, diffrax.RecursiveCheckpointAdjoint()), None

    return jnp.sum(lax.scan(day, start, c.doses)[0])


# first table


def race(functions: dict[str, Callable[[Controls], Any]], given: Controls) -> dict[str, Timing]:
    """Compile all, run each once, then measure them in turns."""
    ready, compile_s, spent, result = {}, {}, {name: [] for name in functions}, {}
    for name, function in functions.items():
        begun = time.process_time()
        ready[name] = jax.jit(function).lower(given).compile()
        compile_s[name] = time.process_time() - begun
        result[name] = jax.block_until_ready(ready[name](given))
    for _ in range(REPEATS):
        for name, function in ready.items():
            begun = time.process_time()
            jax.block_until_ready(function(given))
            spent[name].append(time.process_time() - begun)
    memory = {name: function.memory_analysis().temp_size_in_bytes / 2**20 for name, function in ready.items()}
    return {n: Timing(statistics.median(spent[n]), memory[n], compile_s[n], result[n]) for n in functions}


def methods(cells: int) -> dict[str, Objective]:
    """The objective of every method, in float32."""
    start, matrix = tumour(cells, "float32"), laplacian(cells, "float32")
    degree = matrix.diagonal
    return {
        PLAIN: partial(plain, start, degree),
        ONCE: partial(diffrax_once, start, degree),
        DAILY: partial(diffrax_daily, start, degree),
        SAVED: partial(ours, start, matrix, "saved"),
        TWO_LEVEL: partial(ours, start, matrix, "two-level"),
    }


def gap(found: ArrayLike, reference: ArrayLike) -> float:
    """Norm of the difference over the norm of the reference [-]."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def goals(cells: int, forward: dict[str, Timing], backward: dict[str, Timing]) -> list[Record]:
    """What P3 and P4 ask of both modes."""
    field_mib = cells**3 * 4 / 2**20
    records = []
    for name in (SAVED, TWO_LEVEL):
        cpu, memory, compiled, _ = backward[name]
        ratio = ("gradient", f"{name}: gradient over value, CPU", cpu / forward[name].cpu)
        records.append(at_most(*ratio, RATIO_BOUND, "-", "P3"))
        for peer in (ONCE, DAILY):
            share = ("gradient", f"{name}: CPU over that of {peer}", cpu / backward[peer].cpu)
            records.append(at_most(*share, PEER_BOUND, "-", "P3"))
        told_of = ("gradient", f"{name}: temporaries", memory)
        if name == TWO_LEVEL:
            records.append(at_most(*told_of, (2.0 * math.sqrt(STEPS) + 10.0) * field_mib, "MiB", "P4"))
        else:
            records.append(reported(*told_of, "MiB", "P4"))
        records.append(reported("gradient", f"{name}: gradient", cpu, "CPU s", "P3"))
        records.append(reported("gradient", f"{name}: compilation", compiled, "CPU s", "P8"))
    return told(records)


def compare(cells: int) -> tuple[Controls, list[Record]]:
    """Print a line for each method, and what the goals ask for; returns our gradient too."""
    given, objectives = controls("float32"), methods(cells)
    forward = race(objectives, given)
    backward = race({name: jax.value_and_grad(objective) for name, objective in objectives.items()}, given)
    gradient = {name: timing.result[1] for name, timing in backward.items()}
    print(f"\n{cells}^3 cells, {STEPS} steps, float32: CPU s of value and of gradient, temporaries of both, compile s,")
    print("and the derivatives by D, r and doses against those of RK4")
    print(
        f"{'':22s} {'value':>7s} {'gradient':>8s} {'ratio':>5s} {'MiB':>5s} {'MiB':>6s} {'compile':>7s}"
        f" {'d/dD':>8s} {'d/dr':>8s} {'d/ddose':>8s}"
    )
    for name, (cpu, memory, compiled, _) in backward.items():
        gaps = " ".join(f"{gap(a, b):8.1e}" for a, b in zip(gradient[name], gradient[PLAIN], strict=True))
        print(
            f"{name:22s} {forward[name].cpu:7.2f} {cpu:8.2f} {cpu / forward[name].cpu:5.1f}"
            f" {forward[name].memory:5.0f} {memory:6.0f} {compiled:7.1f} {gaps}"
        )
    return gradient[TWO_LEVEL], goals(cells, forward, backward)


def central(function: Callable[[float], Array], at: float, step: float) -> float:
    """Fourth-order central difference."""
    near, far = (float(function(at + h) - function(at - h)) / (2 * h) for h in (step, 2 * step))
    return (4 * near - far) / 3


def check(cells: int, single: Controls) -> list[Record]:
    """Print our gradient in float64 and in float32 against float64 differences of the same scheme."""
    given = controls("float64")
    fields = tumour(cells, "float64"), laplacian(cells, "float64")
    double = jax.jit(jax.grad(partial(ours, *fields, "two-level")))(given)
    none = jax.tree.map(jnp.zeros_like, given)
    directions = {
        "D": none._replace(diffusivity=given.diffusivity),
        "r": none._replace(growth=given.growth),
        "first dose": none._replace(doses=none.doses.at[0].set(DOSE_1_D)),
        "all doses": none._replace(doses=jnp.full(DAYS, DOSE_1_D)),
    }

    @jax.jit
    def moved(h: float, direction: Controls) -> Array:
        return ours(*fields, "none", jax.tree.map(lambda a, d: a + h * d, given, direction))

    records = []
    print("\nhepatojax against float64 central differences of its own scheme")
    for name, direction in directions.items():
        truth = central(partial(moved, direction=direction), 0.0, 1e-3)
        found = [sum(float(jnp.vdot(a, d)) for a, d in zip(g, direction, strict=True)) for g in (double, single)]
        for (precision, bound), along in zip(ERROR_BOUND.items(), found, strict=True):
            told_of = ("gradient", f"derivative by {name} against differences, {precision}", gap(along, truth))
            records += told([at_most(*told_of, bound, "-", "P3")])
    return records


# second table


class Supplied(NamedTuple):
    """Initial field [-], supply [1/day] and weight of the objective [-], each of mean zero, (nz, ny, nx)."""

    start: Array
    supply: Array
    weight: Array


def supplied(cells: int) -> Supplied:
    """White noise; the weight sees both the start and the supply."""
    noise = np.random.default_rng(0).standard_normal((2, cells, cells, cells))
    start, supply = noise - noise.mean((1, 2, 3), keepdims=True)
    return Supplied(start, supply, start + supply)


def spread(problem: Supplied, matrix: Operator, adjoint: str, diffusivity: Array) -> Array:
    """w . u(T) by a two-stage, second-order, L-stable step (SDIRK2) with u_t = D lap u + s."""
    reach = SDIRK * STEP_D * diffusivity
    supply = SDIRK * STEP_D * problem.supply

    def step(u: Array) -> tuple[Array, None]:
        stage = diffused(matrix, reach, u + supply)
        return diffused(matrix, reach, u + (1.0 / SDIRK - 1.0) * (stage - u) + supply), None

    return jnp.vdot(problem.weight, scan_steps(step, problem.start, STEPS, adjoint)[0])


def exact_slope(problem: Supplied, diffusivity: float) -> float:
    """dJ/dD of the problem that is discrete in space and exact in time, by cosine transform."""
    start, supply, weight = (scipy.fft.dctn(field, norm="ortho") for field in problem)
    cells, days = start.shape[0], float(DAYS)
    line = 4.0 * np.sin(0.5 * np.pi * np.arange(cells) / cells) ** 2
    mode = line[:, None, None] + line[:, None] + line
    decay = np.where(mode > 0, diffusivity * mode, 1.0)
    left = np.exp(-decay * days)
    slope = -days * start * left + supply * (decay * days * left + np.expm1(-decay * days)) / decay**2
    return float(np.sum(weight * mode * slope))


def reverse_slope(problem: Supplied, degree: Array, diffusivity: float, steps: int) -> float:
    """dJ/dD by diffrax BacksolveAdjoint, which integrates the state back in time."""

    def objective(diffusivity: Array) -> Array:
        def f(_: Array, u: Array, args: tuple[Array, Array]) -> Array:
            return rate(u, degree, args[0], 0.0, 0.0) + args[1]

        args = (diffusivity, problem.supply)
        return jnp.vdot(problem.weight, tsit5(f, problem.start, DAYS, steps, args, diffrax.BacksolveAdjoint()))

    return float(jax.jit(jax.grad(objective))(jnp.asarray(diffusivity)))


def stiffness(cells: int) -> list[Record]:
    """Print a line for each stiffness: relative errors of dJ/dD."""
    records = []
    double = jax.tree.map(jnp.asarray, supplied(cells))
    single = jax.tree.map(lambda a: a.astype("float32"), double)
    matrix = laplacian(cells, "float64")
    value = jax.jit(partial(spread, double, matrix, "none"))
    slope = jax.jit(jax.grad(partial(spread, double, matrix, "saved")))
    single_slope = jax.jit(jax.grad(partial(spread, single, laplacian(cells, "float32"), "saved")))
    print(f"\n{cells}^3 cells, {STEPS} steps: relative errors of dJ/dD; float64 but for the column float32,")
    print("which is against our float64")
    print(
        f"{'12 D T / dx^2':>13s} {'dJ/dD':>11s} {'against differences':>19s} {'against exact':>13s} {'float32':>8s}"
        f" {'back in time':>12s}"
    )
    for number in STIFFNESS:
        diffusivity = number / (12 * DAYS)
        exact, found = exact_slope(supplied(cells), diffusivity), float(slope(diffusivity))
        differences = gap(found, central(value, diffusivity, 1e-3 * diffusivity))
        rounded = gap(single_slope(jnp.float32(diffusivity)), found)
        back = "-"
        if number <= REVERSIBLE:
            steps = max(STEPS, math.ceil(number / EXPLICIT_LIMIT))
            back = f"{gap(reverse_slope(double, matrix.diagonal, diffusivity, steps), exact):.1e}"
        print(
            f"{number:13.0e} {exact:11.3e} {differences:19.1e} {gap(found, exact):13.1e} {rounded:8.1e} {back:>12s}",
            flush=True,
        )
        at = f"12 D T / dx^2 = {number:.0e}"
        records += [
            at_most("gradient", f"dJ/dD against differences, {at}", differences, ERROR_BOUND["float64"], "-", "P3"),
            at_most("gradient", f"dJ/dD, float32 against float64, {at}", rounded, ERROR_BOUND["float32"], "-", "P3"),
            reported("gradient", f"dJ/dD against the exact answer, {at}", gap(found, exact), "-", "P3"),
        ]
    return records


def main(arguments: list[str]) -> list[Record]:
    """Print both tables."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX makes its threads
    jax.config.update("jax_enable_x64", True)
    cells = int(arguments[0]) if arguments else 64
    print(f"jax {jax.__version__}, diffrax {diffrax.__version__}, {jax.devices()[0]}")
    single, records = compare(cells)
    return records + check(cells, single) + stiffness(STIFF_CELLS)


if __name__ == "__main__":
    run(main)
