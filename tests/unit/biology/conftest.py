"""The parameters of biology, once for all its tests."""

import pytest

from hepatojax.biology.parameters import biology_parameters
from hepatojax.parameters.registry import load_parameters


@pytest.fixture(scope="session")
def p():
    return biology_parameters(load_parameters())
