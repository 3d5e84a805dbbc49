"""Resistance between the vessels of an endless hexagonal lattice of lobules, from the closed form of its pressure."""

import numpy as np

from hepatojax.checks.verify.exact import lattice_pressure


def hexagon_resistance(radius, central, portal):
    """Drop between the mean pressures on the vessel walls, K H / (mu Q) times; exact to (vessel / radius)^6."""
    circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    walls = 1j * radius + portal * circle, central * circle
    inlet, outlet = (np.mean(lattice_pressure(wall.real, wall.imag, radius)) for wall in walls)
    return inlet - outlet
