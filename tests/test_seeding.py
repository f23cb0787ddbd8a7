"""Random streams: their first numbers, written down, since a change would change every study."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.seeding import derived_seed, generator, normals, resampling, uniforms, words

STREAMS = [
    (("order", 3, 7), [1787907974, 2724614928, 574919753]),
    (("split",), [1533963753, 2795051868, 4090227098]),
    (("split", "test"), [1735733853, 774361716, 1906054371]),
    (("split", "only", "train"), [3734937502, 3017184161, 2898072587]),
    (("draw",), [2126203842, 3002020175, 1818038202]),
    (("draw", 3), [96847461, 1602513051, 3371599707]),
    (("teacher",), [1860107072, 1953647327, 2421314529]),
    (("teacher rows",), [2371038706, 2684515978, 223396791]),
    (("labelled",), [2807049149, 4129130193, 851908569]),
    (("arm", "wsl", 2, 5), [2642985896, 2285097650, 611970631]),
    (("rivals", 0), [480187916, 1793720974, 2708632250]),
    (("rivals", 1, 4), [1028682871, 1344052704, 4199646188]),
]


@pytest.mark.parametrize(("keys", "first"), STREAMS, ids=lambda value: str(value[0]))
def test_generators_give_the_numbers_they_always_gave(keys, first):
    assert generator(1, *keys).integers(2**32, size=3).tolist() == first


def test_numbers_of_samples_are_those_they_always_were():
    assert words(1, "mixture", [0, 7], 2, epoch=3).tolist() == [
        [17573591020117789788, 5652789799817434023],
        [3108782803789060200, 10444725567143479057],
    ]
    assert uniforms(1, "mixture", [0, 7], 1).tolist() == [[0.4208913935356288], [0.1485395087655475]]
    expected = [[-0.3282013748885952, 0.7518547236007828], [1.3781505100174027, -1.267908237735027]]
    np.testing.assert_allclose(normals(1, "noise", [0, 7], 2), expected, rtol=1e-14)


def test_bootstrap_draws_are_those_they_always_were():
    drawn = resampling(1, 2).multinomial(5, np.full(5, 0.2), 4)
    assert drawn.tolist() == [[1, 1, 1, 1, 1], [2, 0, 0, 2, 1], [1, 0, 1, 3, 0], [2, 0, 0, 1, 2]]
    assert resampling(3).integers(9, size=(2, 4)).tolist() == [[7, 0, 1, 2], [1, 7, 7, 5]]


def test_derived_seeds_are_those_they_always_were():
    assert [derived_seed(1, "redraw", k) for k in (0, 5)] == [189204267420622, 193153870732221]
    assert len({derived_seed(1, "redraw", k) for k in range(1000)}) == 1000
