import statistics

import pytest

from spnas.search.verdict import COPIES, T_QUANTILES, Sides, judge, t_quantile


def test_the_interval_is_students_t_over_the_pooled_spread() -> None:
    ours, rival = [0.50, 0.52, 0.54], [0.40, 0.42, 0.44]
    verdict = judge(7, ours, rival, [])
    pooled = statistics.variance(ours)  # both groups have the same
    assert verdict.difference == pytest.approx(0.10)
    assert verdict.half_width == pytest.approx(2.776 * (pooled * 2 / 3) ** 0.5)
    assert verdict.paid is True
    assert verdict.sentence.startswith("The search paid")


def test_nothing_is_claimed_inside_the_noise() -> None:
    verdict = judge(7, [0.50, 0.56], [0.49, 0.55], [])
    assert verdict.paid is None
    assert "did not pay, as far as can be told" in verdict.sentence
    assert "within the noise" in verdict.sentence


def test_a_better_rival_is_said_plainly() -> None:
    verdict = judge(7, [0.40, 0.41, 0.40], [0.50, 0.51, 0.50], [])
    assert verdict.paid is False
    assert "the ResNet is better" in verdict.sentence


def test_one_seed_says_nothing() -> None:
    verdict = judge(7, [0.9], [0.1], [])
    assert verdict.half_width is None
    assert verdict.paid is None
    assert verdict.sentence.startswith("Not known")


def test_further_finalists_sharpen_the_estimate_of_the_spread_not_the_difference() -> None:
    alone = judge(7, [0.50, 0.52], [0.45, 0.47], [])
    helped = judge(7, [0.50, 0.52], [0.45, 0.47], [[0.3, 0.32], [0.6, 0.62]])
    assert helped.difference == alone.difference
    assert alone.half_width is not None
    assert helped.half_width is not None
    assert helped.half_width < alone.half_width


def test_the_quantiles_fall_towards_the_normal_one() -> None:
    assert list(T_QUANTILES) == sorted(T_QUANTILES, reverse=True)
    assert t_quantile(1000) >= 1.96


def test_nets_that_learned_nothing_are_not_compared() -> None:
    verdict = judge(7, [0.001, 0.001, 0.001], [0.004, 0.004, 0.004], [])
    assert verdict.paid is None
    assert "neither net has learned to detect" in verdict.sentence


def test_where_less_is_better_the_lower_one_has_won() -> None:
    sides = Sides(metric="lamr")
    won = judge(7, [0.30, 0.31, 0.32], [0.40, 0.41, 0.42], [], sides)
    assert won.paid is True
    assert won.difference == pytest.approx(-0.10)
    assert won.sentence.startswith(
        "The search paid: LAMR 0.310 against 0.410 of the equal-cost ResNet, difference -0.100"
    )
    lost = judge(7, [0.40, 0.41, 0.42], [0.30, 0.31, 0.32], [], sides)
    assert lost.paid is False
    assert lost.sentence.endswith("the ResNet is better.")


def test_a_low_miss_rate_is_no_sign_of_having_learned_nothing() -> None:
    sides = Sides(metric="lamr")
    assert judge(7, [0.001, 0.001], [0.009, 0.009], [], sides, best_ap=0.3).paid is True
    unlearned = judge(7, [1.0, 1.0], [1.0, 1.0], [], sides, best_ap=0.0)
    assert unlearned.paid is None
    assert unlearned.sentence.startswith("Not known: neither net has learned to detect")


def test_copies_are_judged_against_a_serial_net_of_equal_cost_by_name() -> None:
    paid = judge(7, [0.50, 0.51, 0.52], [0.40, 0.41, 0.42], [], COPIES)
    assert paid.sentence.startswith("The parallel phase paid: AP 0.510 against 0.410 of a serial net of equal cost")
    lost = judge(7, [0.40, 0.41, 0.42], [0.50, 0.51, 0.52], [], COPIES)
    assert lost.sentence.startswith("The parallel phase did not pay:")
    assert lost.sentence.endswith("the serial net is better.")
    level = judge(7, [0.50, 0.56], [0.49, 0.55], [], COPIES)
    assert level.paid is None
    assert level.sentence.startswith("The parallel phase did not pay, as far as can be told")


def test_sizes_of_objects_are_named_as_the_field_does() -> None:
    assert "AP_S 0.500" in judge(7, [0.5], [0.4], [], Sides(metric="ap_small")).sentence
