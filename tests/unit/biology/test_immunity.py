import numpy as np

from hepatojax.biology.immunity import macrophage_switch, macrophage_turnover
from hepatojax.biology.rest import balance
from tests.reference.biology_cases import draw, evaluate


def test_educated_macrophages_tend_to_influx_over_loss(p):
    fields = evaluate(draw(2), p)
    steady = balance(macrophage_turnover(fields, p.immunity), ("macrophage_educated",), fields)
    expected = fields.education_influx / p.immunity.educated_loss_rate
    np.testing.assert_allclose(steady["macrophage_educated"], expected, rtol=1e-14)


def test_switch_moves_as_many_m1_as_m2_appear(p):
    fields = evaluate(draw(2), p)
    (move,) = macrophage_turnover(fields, p.immunity).transfers
    assert (move.source, move.target, move.gain) == ("macrophage_m1", "macrophage_m2", 1.0)


def test_without_amplification_cells_do_not_switch_macrophages(p):
    fields = evaluate(draw(3), p)
    off = p.immunity.__class__(**{**vars(p.immunity), "contact_rate": 0.0, "relay_rate": 0.0})
    bare = fields.with_({"msc_contact": 0 * fields.msc_contact, "macrophage_educated": 0 * fields.debris})
    np.testing.assert_array_equal(
        macrophage_switch(fields, off)["switch_rate"], macrophage_switch(bare, p.immunity)["switch_rate"]
    )
