import numpy as np
import pytest
from tests.search.conftest import ROOT

from spnas.arch import parse
from spnas.rng import rng
from spnas.search.predictor import FEATURES, RIDGE, Predictor, features


def test_it_is_ridge_regression_on_all_that_was_learned() -> None:
    draw, predictor = rng(0, "test"), Predictor()
    xs, ys = draw.standard_normal((40, FEATURES)), draw.standard_normal(40)
    for x, y in zip(xs, ys, strict=True):
        predictor.learn(x, float(y))
        predictor.predict(x)  # asking in between changes nothing
    weights = np.linalg.solve(xs.T @ xs + RIDGE * np.eye(FEATURES), xs.T @ (ys - ys.mean()))
    asked = draw.standard_normal(FEATURES)
    assert predictor.predict(asked) == pytest.approx(float(asked @ weights))
    assert predictor.count == 40


def test_a_net_that_knows_nothing_predicts_no_difference() -> None:
    assert Predictor().predict(features(ROOT, 0.5)) == 0


def test_features_say_where_blocks_and_doublings_lie_and_what_a_net_costs() -> None:
    arch = parse("basic: 16x2 / 32x1 64x1 / 64x3 / 128x1 + 0-2-0-1")
    found = features(arch, 0.5).tolist()
    assert found[:3] == pytest.approx([1, np.log(8), np.log(0.5)])
    assert found[3:11] == pytest.approx([2 / 8, 2 / 8, 3 / 8, 1 / 8, 0, 0, 0, 0])
    assert found[11:19] == [0, 2, 0, 1, 0, 0, 0, 0]
    assert found[19:] == pytest.approx([2 / 8, 3 / 8, 7 / 8, 0])


def test_an_architecture_of_the_most_stages_and_any_number_of_doublings_has_features() -> None:
    longest = parse("basic: 8x1 / 16x1 / 32x1 / 64x1 / 128x1 / 256x1 / 512x1 / 1024x1 + 1-1-1-1-1-1-1-1")
    assert features(longest, 0.0).shape == (FEATURES,)
    assert np.isfinite(features(longest, 0.0)).all()
