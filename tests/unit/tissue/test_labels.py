"""A label image of the hexagon is the hexagon, to the first order that whole voxels allow."""

import jax
import numpy as np
import pytest

from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.labels import lobule_from_labels
from hepatojax.tissue.perfusion import PerfusionParameters, solve_perfusion

solve = jax.jit(solve_perfusion)
UNIT = PerfusionParameters(1.0, 1.0, 1.0)


def test_label_image_of_the_hexagon_has_its_pressure():
    hexagon = hexagonal_lobule((96, 111, 1), 500.0, 300.0, 40.0, 35.0)
    image = lobule_from_labels(hexagon.labels, hexagon.grid.spacing_um, 40.0, 35.0)
    one, two = solve(hexagon, 1.0, UNIT), solve(image, 1.0, UNIT)
    tissue = hexagon.labels > 0
    difference = np.asarray(one.pressure - two.pressure)[tissue]
    assert np.sqrt(np.mean(difference**2)) < 0.015
    np.testing.assert_allclose(two.resistance, one.resistance, rtol=0.05)
    np.testing.assert_allclose(np.sum(image.grid.volume), np.sum(hexagon.grid.volume), rtol=0.02)
    np.testing.assert_allclose(image.zone[tissue], hexagon.zone[tissue], atol=0.02)
    assert len(image.portal_xy_um) == 6
    assert len(image.central_xy_um) == 1


def test_faces_are_open_only_between_tissue_voxels():
    labels = np.ones((2, 3, 4), np.uint8)
    labels[0, 0, 0], labels[1, 2, 3], labels[0, 1, 1] = 2, 3, 0
    image = lobule_from_labels(labels, (10.0, 20.0, 30.0), 60.0, 60.0)
    up, north, east = image.grid.faces
    assert east[0, 1, 0] == 0 == east[0, 1, 1]
    assert north[0, 0, 1] == 0 == up[0, 1, 1]
    np.testing.assert_allclose(up[0, 0, 0], 20.0 * 30.0 / 10.0)
    np.testing.assert_allclose(north[0, 0, 0], 10.0 * 30.0 / 20.0)
    np.testing.assert_allclose(east[0, 0, 0], 10.0 * 20.0 / 30.0)
    assert not up[-1].any() and not north[:, -1].any() and not east[:, :, -1].any()


@pytest.mark.parametrize(
    ("change", "message"), [((9,), "unknown label 9"), ((1,), "central vein"), ((3, 100.0), "too coarse")]
)
def test_unusable_images_are_refused(change, message):
    labels = np.ones((1, 4, 4), np.uint8)
    labels[0, 0, 0], labels[0, 3, 3] = 2, change[0]
    spacing = change[1] if len(change) > 1 else 10.0
    with pytest.raises(ValueError, match=message):
        lobule_from_labels(labels, (10.0, spacing, spacing), 40.0, 35.0)
