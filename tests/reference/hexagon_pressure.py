"""Pressure between the vessels of an endless hexagonal lattice of lobules, in closed form.

Point sources at the vertices and point sinks in the centres of hexagons with circumradius R; two portal sub-lattices
carry half of each sink. Uses the doubly periodic Green's function by theta functions.
"""

import numpy as np

ROOT3 = np.sqrt(3.0)
TAU = np.exp(1j * np.pi / 3.0)  # second period of the lattice over the first


def _green(z, pitch):
    w = z / pitch
    k = np.arange(12)
    nome = np.exp(1j * np.pi * TAU)
    theta = 2.0 * np.sum((-1.0) ** k * nome ** ((k + 0.5) ** 2) * np.sin((2 * k + 1) * np.pi * w[..., None]), axis=-1)
    return np.log(np.abs(theta)) - np.pi / TAU.imag * w.imag**2


def hexagon_pressure(x, y, radius):
    """p K H / (mu Q) at points relative to the centre of a hexagon with vertices at (0, +-radius), up to a constant."""
    z = np.asarray(x, complex) + 1j * np.asarray(y)
    pitch = ROOT3 * radius
    portal = 0.5 * _green(z - 1j * radius, pitch) + 0.5 * _green(z + 1j * radius, pitch)
    return -(portal - _green(z, pitch)) / (2.0 * np.pi)


def hexagon_resistance(radius, central, portal):
    """Drop between the mean pressures on the vessel walls, K H / (mu Q) times; exact to (vessel / radius)^6."""
    circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    inlet, outlet = 1j * radius + portal * circle, central * circle
    return np.mean(hexagon_pressure(inlet.real, inlet.imag, radius)) - np.mean(
        hexagon_pressure(outlet.real, outlet.imag, radius)
    )
