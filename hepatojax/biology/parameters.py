"""The parameters of all biology, taken from the registry.

Each module of `hepatojax.biology` names its numbers in a class; here every field finds its value by name, in the
subject of the module or in that of another where two mechanisms share a number, so that no number stands twice.
"""

from __future__ import annotations

from hepatojax.biology.hepatocytes import HepatocyteParameters
from hepatojax.biology.immunity import ImmunityParameters
from hepatojax.biology.injury import InjuryParameters
from hepatojax.biology.matrix import MatrixParameters
from hepatojax.biology.metabolism import MetabolismParameters
from hepatojax.biology.secretion import SIGNALS, SecretionParameters
from hepatojax.biology.stem_cells import StemCellParameters
from hepatojax.biology.vessels import VesselParameters
from hepatojax.mechanism import pytree
from hepatojax.parameters.registry import Parameters, from_registry


@pytree
class BiologyParameters:
    """One parameter set per module of `hepatojax.biology`, by the module's name; units stand with the class of each."""

    hepatocytes: HepatocyteParameters
    metabolism: MetabolismParameters
    injury: InjuryParameters
    immunity: ImmunityParameters
    matrix: MatrixParameters
    vessels: VesselParameters
    stem_cells: StemCellParameters
    secretion: SecretionParameters


def biology_parameters(parameters: Parameters) -> BiologyParameters:
    """The parameters of all mechanisms of `hepatojax.biology`.

    Args:
        parameters: the registry of a species, in canonical units.

    Returns:
        `BiologyParameters` with Python floats as leaves.

    Raises:
        ParameterError: a name that the registry does not hold.
    """
    r = parameters
    return BiologyParameters(
        hepatocytes=from_registry(HepatocyteParameters, r.hepatocytes),
        metabolism=from_registry(MetabolismParameters, r.metabolism),
        injury=from_registry(InjuryParameters, r.injury),
        immunity=from_registry(ImmunityParameters, r.immunity, r.injury, r.amplification),
        matrix=from_registry(MatrixParameters, r.matrix, r.cells),
        vessels=from_registry(VesselParameters, r.vessels, r.matrix),
        stem_cells=from_registry(StemCellParameters, r.stem_cells, r.amplification, r.immunity, r.cells),
        secretion=from_registry(
            SecretionParameters,
            {"signals": {signal: dict(r.signals[signal]) for signal in SIGNALS}},
            r.cells,
            r.matrix,
            r.immunity,
        ),
    )
