"""Tissue values, their ranges and their draws."""

from __future__ import annotations

import numpy as np
import pytest

from dose import tissues as ts
from dose.errors import InputError
from dose.exposure import Exposure
from dose.provenance import load_table, sources
from dose.regions import known_regions

ROWS = [("tissues.csv", row) for row in load_table("dose", "tissues.csv")]
ROWS += [("radiobiology.csv", row) for row in load_table("dose", "radiobiology.csv")]
N = 40_000


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[" ".join(list(r.values())[:2]) for _, r in ROWS])
def test_each_row_has_a_range_about_its_value_and_a_source_with_a_word_on_trust(table, row):
    low, value, high = (float(row[k]) for k in ("low", "value", "high"))
    assert low <= value <= high
    assert set(row["source_id"].split("; ")) <= set(sources("dose"))
    assert row["locator"]


@pytest.mark.parametrize("region", ["kidneys", "red_marrow", "liver", "parotid_left", "tumour_1", "spleen"])
def test_draws_have_the_value_as_median_and_the_range_as_interval(region):
    known, drawn = ts.tissue(region), ts.tissue_draws(region, N, 7)
    for quantity, attribute in (("alpha_beta", "alpha_beta_Gy"), ("repair_half_time", "repair_half_time_h")):
        low, high = known.ranges[quantity]
        found = np.percentile(getattr(drawn, attribute), [2.5, 50, 97.5])
        # standard error of a 2.5 percentile in log units is about 0.01 sd with 40 000 draws; sds here are below 1
        np.testing.assert_allclose(found, [low, getattr(known, attribute), high], rtol=0.05)
    assert drawn.source_id == known.source_id


def test_a_fraction_stays_a_fraction():
    part = ts.tissue_draws("spleen", N, 7, row="rat_spinal_cord", components=2).slow_fraction
    assert np.all((part > 0) & (part < 1))
    np.testing.assert_allclose(np.percentile(part, [2.5, 50, 97.5]), [0.37, 0.62, 0.86], atol=0.01)


def test_regions_of_one_tissue_share_their_draws_and_seeds_differ():
    left, right = (ts.tissue_draws(f"kidney_{side}", 50, 3).alpha_beta_Gy for side in ("left", "right"))
    np.testing.assert_array_equal(left, right)
    assert not np.allclose(left, ts.tissue_draws("kidney_left", 50, 4).alpha_beta_Gy)
    drawn = ts.tissue_draws("kidney_left", N, 3)
    # independent by construction: the correlation of 40 000 pairs is within 4/sqrt(N)
    assert abs(np.corrcoef(np.log(drawn.alpha_beta_Gy), np.log(drawn.repair_half_time_h))[0, 1]) < 4 / np.sqrt(N)


def test_draws_of_tissue_give_an_interval_of_bed():
    exposure = Exposure((4.5 * 0.0134,), (0.0134,))
    bed = exposure.bed_Gy(ts.tissue_draws("kidneys", 2000, 1))
    low, high = np.percentile(bed, [2.5, 97.5])
    assert bed.shape == (2000,)
    assert 4.5 < low < exposure.bed_Gy(ts.tissue("kidneys")) < high


def test_two_components_are_those_published_and_only_where_they_are():
    cord = ts.tissue("spleen", row="rat_spinal_cord", components=2)
    assert cord.repair == ts.Repair((1 - 0.62, 0.62), (0.7, 3.8))
    assert "ang_1992" in cord.source_id
    with pytest.raises(InputError, match="kidney"):
        ts.tissue("kidneys", components=2)
    with pytest.raises(InputError, match="components"):
        ts.tissue("kidneys", components=3)


def test_another_row_may_be_named_and_a_slip_is_met_with_the_nearest():
    assert ts.tissue("tumour_1", row="prostate_cancer").alpha_beta_Gy == 3.1
    assert "prostate_cancer" in ts.known_tissues()
    with pytest.raises(InputError, match='write "prostate_cancer"'):
        ts.tissue("tumour_1", row="prostate cancer")
    with pytest.raises(InputError, match='write "parotid_flow"'):
        ts.parameter("parotid flow", "td50")
    with pytest.raises(InputError, match="td50"):
        ts.parameter("parotid_flow", "gamma")


def test_each_region_keeps_its_tissue():
    for name in (*known_regions(), "tumour_1"):
        assert ts.tissue_name(name) in ts.known_tissues()


def test_a_row_without_a_range_is_not_drawn():
    bare = ts.Parameter("x alpha", 1.0, None, None, "1/Gy", "lq_convention", "none")
    with pytest.raises(InputError, match="low and high"):
        bare.draws(10, 0)
    with pytest.raises(InputError, match="draws"):
        ts.parameter("parotid_flow", "td50").draws(0, 0)
