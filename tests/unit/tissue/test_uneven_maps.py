"""Maps that are built once: label images, septa and random permeability; scaling, bounds, and what a seed fixes."""

from functools import lru_cache

import numpy as np
import pytest

from hepatojax.tissue.geometry import CENTRAL_VEIN, PORTAL_TRACT, SEPTUM
from hepatojax.tissue.heterogeneity import fibrotic_septa, gaussian_field, neighbouring_vessels, random_permeability
from hepatojax.tissue.hexagon import hexagonal_lobule
from hepatojax.tissue.labels import lobule_from_labels

MAPS = ("inlet", "outlet", "portal_volume", "septum_volume", "central_volume", "zone", "permeability")


@lru_cache
def lobule(scale=1.0):
    return hexagonal_lobule((16, 18, 5), *(scale * s for s in (500.0, 300.0, 40.0, 35.0)))


def image():
    """Two tracts on the left, a vein on the right, a septum below and a hole."""
    labels = np.ones((2, 7, 9), np.int64)
    labels[:, 1, 1] = labels[:, 5, 0] = PORTAL_TRACT
    labels[:, 2:4, 7:9] = CENTRAL_VEIN
    labels[:, 6, 3:6] = SEPTUM
    labels[0, 3, 4] = 0
    return labels


def from_image(labels, scale=1.0):
    return lobule_from_labels(labels, (20.0 * scale, 15.0 * scale, 10.0 * scale), 40.0 * scale, 35.0 * scale)


@pytest.mark.parametrize("flip", [np.s_[:, :, ::-1], np.s_[:, ::-1], np.s_[::-1]], ids=["x", "y", "z"])
def test_the_mirror_image_has_the_mirrored_maps(flip):
    straight, mirrored = from_image(image()), from_image(np.ascontiguousarray(image()[flip]))
    for name in MAPS:
        np.testing.assert_allclose(getattr(mirrored, name), getattr(straight, name)[flip], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mirrored.grid.volume, straight.grid.volume[flip])


def test_volumes_of_an_image_are_those_of_its_voxels():
    tissue, voxel = from_image(image()), 20.0 * 15.0 * 10.0
    assert np.sum(tissue.grid.volume) == voxel * np.count_nonzero(image())
    for volume, label in (("portal_volume", PORTAL_TRACT), ("central_volume", CENTRAL_VEIN), ("septum_volume", SEPTUM)):
        np.testing.assert_array_equal(getattr(tissue, volume), voxel * (image() == label))
    np.testing.assert_array_equal(tissue.labels, image())


def test_a_larger_image_of_the_same_figure_is_a_similar_lobule():
    """Well factors are lengths, the zone is a number, volumes are cubes."""
    small, large = from_image(image()), from_image(image(), 3.0)
    np.testing.assert_allclose(large.inlet, 3.0 * small.inlet, rtol=1e-9)
    np.testing.assert_allclose(large.outlet, 3.0 * small.outlet, rtol=1e-9)
    np.testing.assert_allclose(large.zone, small.zone, atol=1e-12)
    np.testing.assert_allclose(large.central_volume, 27.0 * small.central_volume, rtol=1e-12)
    np.testing.assert_allclose(large.portal_xy_um, 3.0 * small.portal_xy_um, atol=1e-9)
    for one, three in zip(small.grid.faces, large.grid.faces, strict=True):
        np.testing.assert_allclose(three, 3.0 * one, rtol=1e-12)


def test_axes_of_the_vessels_are_the_centres_of_their_voxels():
    tissue = from_image(image())
    found = tissue.portal_xy_um[np.argsort(tissue.portal_xy_um[:, 0])]
    np.testing.assert_allclose(found, [[-40.0, 30.0], [-30.0, -30.0]])
    np.testing.assert_allclose(tissue.central_xy_um, [[35.0, -7.5]])


def test_zone_of_an_image_runs_from_inlets_to_outlet():
    tissue = from_image(image())
    labels = image()
    assert not tissue.zone[(labels == PORTAL_TRACT) | (labels == SEPTUM)].any()
    np.testing.assert_array_equal(tissue.zone[labels == CENTRAL_VEIN], 1.0)
    between = tissue.zone[labels == 1]
    assert between.min() > 0.0 and between.max() < 1.0
    assert np.all(np.diff(tissue.zone[0, 2, 1:8]) >= 0.0)  # from the tract to the vein


def test_a_septum_exchanges_by_its_volume_over_the_square_of_the_radius():
    tissue = from_image(image())
    np.testing.assert_allclose(tissue.inlet[image() == SEPTUM], 3000.0 / 35.0**2, rtol=1e-12)
    assert np.all(tissue.inlet[image() == 1] == 0.0) and np.all(tissue.outlet[image() != CENTRAL_VEIN] == 0.0)


@pytest.mark.parametrize("scale", [0.1, 4.0])
def test_a_field_knows_lengths_only_in_units_of_its_correlation(scale):
    here = gaussian_field(lobule(), 60.0, np.random.default_rng(3))
    there = gaussian_field(lobule(scale), 60.0 * scale, np.random.default_rng(3))
    np.testing.assert_allclose(there, here, atol=1e-9)


@lru_cache
def realisations():
    """A smooth field of 24 seeds."""
    return np.stack([gaussian_field(lobule(), 120.0, np.random.default_rng(seed)) for seed in range(24)])


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_correlation_falls_as_a_gauss_curve_along_every_axis_and_across_it(lag):
    """exp(-r^2 / 2 l^2) over 24 seeds, along the axes and along the diagonal of x and y."""
    fields, spacing = realisations(), np.asarray(lobule().grid.spacing_um)
    for step in ((lag, 0, 0), (0, lag, 0), (0, 0, lag), (0, lag, lag)):
        low = tuple(slice(None, -s or None) for s in step)
        high = tuple(slice(s, None) for s in step)
        found = np.mean(fields[:, *low] * fields[:, *high])
        assert found == pytest.approx(np.exp(-np.sum((spacing * step) ** 2) / (2 * 120.0**2)), abs=0.15)


def test_a_short_correlation_makes_neighbours_strangers_and_a_long_one_twins():
    short, long = (gaussian_field(lobule(), length, np.random.default_rng(0)) for length in (5.0, 1e5))
    assert abs(np.mean(short[:, :, 1:] * short[:, :, :-1])) < 0.1 < short.std()
    assert np.ptp(long) < 0.1


def test_permeability_is_log_linear_in_its_spread_and_keeps_what_was_there():
    base = lobule().replace(permeability=np.full((5, 18, 16), 2.0))
    one, two = (np.log(random_permeability(base, s, 60.0, seed=4).permeability / 2.0) for s in (0.3, 0.6))
    np.testing.assert_allclose(two, 2.0 * one, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(random_permeability(base, 0.0, 60.0, seed=4).permeability, 2.0)
    other = np.log(random_permeability(base, 0.3, 60.0, seed=5).permeability / 2.0)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.5


def septa(count=6, contrast=50.0, thickness=60.0, seed=1, gap_fraction=0.1):
    return fibrotic_septa(lobule(), count, contrast, thickness, seed=seed, gap_fraction=gap_fraction).permeability


def test_septa_lower_the_permeability_to_one_over_their_contrast_and_no_further():
    closed = septa(gap_fraction=0.0)
    assert closed.max() == 1.0
    assert closed.min() == pytest.approx(1.0 / 50.0)
    np.testing.assert_array_equal(septa(contrast=1.0), 1.0)
    np.testing.assert_array_equal(septa(count=0), 1.0)
    np.testing.assert_array_equal(septa(gap_fraction=1.0), 1.0)
    np.testing.assert_array_equal(closed, np.repeat(closed[:1], 5, axis=0))  # upright slabs without gaps


@pytest.mark.parametrize(
    "change",
    [{"count": 9}, {"contrast": 100.0}, {"thickness": 80.0}, {"gap_fraction": 0.0}],
    ids=lambda c: next(iter(c)),
)
def test_more_septa_of_more_contrast_and_fewer_gaps_never_open_a_cell(change):
    usual = {"gap_fraction": 0.0} if "thickness" in change else {}
    assert np.all(septa(**(usual | change)) <= septa(**usual) + 1e-12)
    assert septa(**(usual | change)).mean() < septa(**usual).mean()


def test_septa_of_a_seed_are_the_same_and_of_another_seed_others():
    np.testing.assert_array_equal(septa(seed=1), septa(seed=1))
    assert np.any(septa(seed=1, gap_fraction=0.0) != septa(seed=2, gap_fraction=0.0))


def test_the_share_of_gaps_is_the_one_asked_for_on_average():
    opened = [np.mean(septa(seed=s, gap_fraction=0.25)[septa(seed=s, gap_fraction=0.0) < 0.1] == 1.0) for s in range(8)]
    assert np.mean(opened) == pytest.approx(0.25, abs=0.1)


def test_neighbours_are_the_sides_and_the_spokes_of_the_hexagon():
    lengths = [np.hypot(*(start - end)) for start, end in neighbouring_vessels(lobule())]
    np.testing.assert_allclose(lengths, 500.0, rtol=1e-12)
    to_vein = [pair for pair in neighbouring_vessels(lobule()) if np.hypot(*pair[1]) < 1e-9]
    assert len(to_vein) == 6
