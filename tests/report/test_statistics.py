"""The statistics compared with scipy's, and the verdicts that follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssl_rot.errors import ConfigError
from ssl_rot.report import compare, pair_runs
from ssl_rot.report.comparison.cell_names import format_settings
from ssl_rot.report.comparison.estimates import estimate_over_seeds, interval, p_value
from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.comparison.holm import adjust_holm
from ssl_rot.report.comparison.sign_flips import sign_flip_p
from ssl_rot.report.page.cell_tables import number_table


@pytest.mark.parametrize("n", [2, 3, 5, 10, 13])
@pytest.mark.parametrize("seed", range(5))
def test_agreement_with_scipy(n: int, seed: int) -> None:
    rng = np.random.default_rng((n, seed))
    one, other = rng.normal(0.6, 0.05, n), rng.normal(0.57, 0.05, n)
    ours, theirs = estimate_over_seeds(one - other), stats.ttest_rel(one, other)
    expected = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(p_value(ours), theirs.pvalue, rtol=1e-9)
    np.testing.assert_allclose(interval(ours), [expected.low, expected.high], rtol=1e-9)
    flips = stats.permutation_test(
        (one - other,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(one - other) == pytest.approx(flips.pvalue, rel=1e-12)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1, 0.2, 0.3], 2 / 8),
        ([0.1, 0.2, 0.3, 0.1, 0.2], 2 / 32),
        ([0.1, -0.1], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
        ([0.1, 0.0, 0.0], 1.0),
        ([1 / 360] * 10, 2 / 1024),
        # Ties: every flip whose sum is at least 0.2 in absolute value counts.
        ([0.1, 0.1, 0.1, -0.1], 10 / 16),
        ([0.1], float("nan")),
    ],
)
def test_sign_flips_with_ties_and_few_pairs(differences: list[float], p: float) -> None:
    np.testing.assert_allclose(sign_flip_p(np.array(differences)), p)


def test_sign_flips_are_exact_and_fast_for_thirty_pairs() -> None:
    differences = np.linspace(-0.8, 1.0, 30)
    exact = sign_flip_p(differences)
    # The normal approximation of the same distribution is close at this size.
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert exact == pytest.approx(2 * stats.norm.sf(z), rel=0.15)


def test_sign_flips_above_forty_pairs_are_drawn() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1, 50)
    p, t = sign_flip_p(differences), stats.ttest_1samp(differences, 0).pvalue
    assert p == sign_flip_p(differences)
    assert p == pytest.approx(t, abs=0.01)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # a textbook example
        ([0.5], [0.5]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, np.nan, 0.03], [0.04, np.nan, 0.04]),  # NaN is not part of the family
        ([np.nan, np.nan], [np.nan, np.nan]),
    ],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    np.testing.assert_allclose(adjust_holm(np.array(p)), adjusted)
    families = np.stack([p, p[::-1]])
    np.testing.assert_allclose(adjust_holm(families), np.stack([adjusted, adjusted[::-1]]))


CLEAR = [0.10, 0.12, 0.09, 0.11, 0.10]


@pytest.mark.parametrize(
    ("differences", "metric", "verdict", "wins"),
    [
        (CLEAR, "test_acc", "better", 5),
        ([-d for d in CLEAR], "test_acc", "worse", 0),
        # In these runs a higher accuracy comes with a lower loss, and a lower loss is better.
        (CLEAR, "test_loss", "better", 5),
        ([-d for d in CLEAR], "test_loss", "worse", 0),
        ([0.1, -0.1, 0.02, -0.03, 0.01], "test_acc", "undecided", 3),
        ([0.3], "test_acc", "not enough runs", 1),
        ([0.3, 0.32], "test_acc", "not enough runs", 2),
        ([0.0, 0.001, -0.001, 0.002, 0.0], "test_acc", "equivalent", 2),
    ],
)
def test_a_cells_verdict(runs, differences, metric: str, verdict: str, wins: int) -> None:
    runs.arms(differences)
    (cell,) = compare(pair_runs(runs.frame(), runs.histories(), metric)).to_dict("records")
    assert cell["verdict"] == verdict
    assert (cell["wins"], cell["n"]) == (wins, len(differences))
    if metric == "test_acc":
        assert cell["difference"] == pytest.approx(np.mean(differences))
        assert cell["arm_mean"] - cell["reference_mean"] == pytest.approx(cell["difference"])
        if len(differences) > 1:
            assert cell["arm_sd"] == pytest.approx(np.std(differences, ddof=1))


def test_the_basis_says_what_the_verdict_is_based_on(runs) -> None:
    runs.arms(CLEAR)
    runs.arms([0.1, 0.1, 0.1], dataset__labels_per_class="10")
    runs.arms([0.1], dataset__labels_per_class="20")
    basis = compare(pair_runs(runs.frame()))["basis"]
    assert basis[0] == (
        "5 seeds, p = 6.8e-05 after Holm over 2 cells; "
        "sign flips p = 0.12 (as small as 5 seeds allow)"
    )
    assert basis[1].startswith("3 seeds, p = ")
    assert basis[2] == "1 seed; a verdict takes at least 3, better five or more"


def test_raw_p_values_are_not_quoted(runs) -> None:
    """A raw p beside adjusted ones invites the reader to take the smaller."""
    runs.arms(CLEAR)
    runs.arms([0.02, -0.01, 0.05, 0.03, 0.04], dataset__labels_per_class="10")
    cells = add_floors(compare(pair_runs(runs.frame())), pair_runs(runs.frame()), runs.frame())
    assert "p" not in cells
    headings = [column.heading for column in number_table(cells).columns]
    assert [text for text in headings if "p" in text.replace(",", "").split()] == [
        "p, Holm",
        "equivalence p, Holm",
        "sign-flip p, Holm",
        "always-valid p, Holm",
    ]


def test_more_cells_need_stronger_evidence(runs) -> None:
    runs.arms([0.01, 0.05, 0.03, 0.06, 0.02])
    alone = compare(pair_runs(runs.frame()), margin=None)
    assert alone["verdict"][0] == "better"
    for labels in range(6, 16):
        runs.arms([0.05, -0.05, 0.01], dataset__labels_per_class=str(labels))
    among = compare(pair_runs(runs.frame()), margin=None)
    assert among["p_holm"][0] == pytest.approx(11 * alone["p_holm"][0])
    assert among["verdict"][0] == "undecided"


def test_cells_are_named_by_what_distinguishes_them_in_natural_order(runs) -> None:
    for labels in ("20", "null", "1", "5"):
        for freeze, target in (("none", "Nothing"), ("backbone", "Frozen")):
            runs.arms(
                [0.1, 0.2], dataset__labels_per_class=labels, freeze=freeze, freeze___target_=target
            )
    cells = compare(pair_runs(runs.frame()))
    assert list(cells["dataset.labels_per_class"].drop_duplicates()) == ["1", "5", "20", "null"]
    assert cells["cell"][0] == "labels_per_class=1 freeze=backbone"
    assert cells["cell"].nunique() == len(cells) == 8


def test_a_setting_that_all_cells_share_is_not_part_of_their_names(runs) -> None:
    runs.arms([0.1, 0.2])
    runs.arms([0.1, 0.2], freeze="backbone", freeze___target_="Frozen")
    cells = compare(pair_runs(runs.frame()))
    assert list(cells["cell"]) == ["freeze=backbone", "freeze=none"]
    assert list(cells["dataset.labels_per_class"]) == ["5", "5"]  # still a column


def test_by_averages_within_each_seed_first(runs) -> None:
    """Four settings with the same three seeds are three observations, not twelve."""
    effects = {0: 0.10, 1: 0.02, 2: 0.06}
    for labels, shift in (("1", 0.03), ("5", -0.03), ("10", 0.01), ("20", -0.01)):
        runs.arms([effect + shift for effect in effects.values()], dataset__labels_per_class=labels)
    (cell,) = compare(pair_runs(runs.frame()), by=["model", "freeze"]).to_dict("records")
    assert (cell["n"], cell["pairs"]) == (3, 12)
    assert cell["p_holm"] == pytest.approx(stats.ttest_1samp(list(effects.values()), 0).pvalue)
    assert cell["cell"] == "model=resnet_tiny freeze=none"


def test_by_leaves_out_a_seed_that_lacks_a_setting(runs) -> None:
    """Its mean would be that of the settings it has: here a gain of 3 or of 30 points."""
    runs.arms([0.30, 0.31, 0.29], freeze="backbone", freeze___target_="Frozen")
    runs.arms([0.03, 0.04], freeze="none")
    pairs = pair_runs(runs.frame())
    (cell,) = compare(pairs, by=["model"]).to_dict("records")
    assert (cell["n"], cell["pairs"]) == (2, 4)
    assert cell["difference"] == pytest.approx(0.17)
    left_out = exclude_incomplete_seeds(pairs, ["model"]).set_index("seed")["left_out"]
    assert left_out["2"] == "its seed has no pair with freeze=none"
    assert (left_out.drop("2") == "").all()
    # As cells of their own, all pairs count.
    assert list(compare(pairs, by=["freeze"])["n"]) == [3, 2]
    assert list(compare(pairs)["n"]) == [3, 2]


def test_by_with_no_complete_seed_compares_nothing(runs) -> None:
    runs.arms([0.3], freeze="backbone", freeze___target_="Frozen")
    for seed, arm, acc in ((1, "rotation", 0.5), (1, "supervised", 0.4)):
        runs.downstream(arm, seed, acc)
    assert compare(pair_runs(runs.frame()), by=["model"]).empty


def test_by_refuses_unknown_keys_and_says_what_the_runs_differ_in(runs) -> None:
    runs.arms([0.1, 0.2])
    runs.arms([0.1, 0.2], freeze="backbone")
    message = (
        r"by=modle is not a key of these runs \(did you mean model\?\); they differ in: .*freeze"
    )
    with pytest.raises(ConfigError, match=message) as refused:
        compare(pair_runs(runs.frame()), by=["modle"])
    assert "schedule.lr" not in str(refused.value)


def test_epochs_to_match_is_infinite_if_most_pairs_never_match(runs) -> None:
    for seed, acc in enumerate([0.8, 0.5, 0.3]):
        runs.downstream("rotation", seed, acc)
        runs.downstream("supervised", seed, 0.4)
    (cell,) = compare(pair_runs(runs.frame(), runs.histories())).to_dict("records")
    assert (cell["epochs_to_match"], cell["matched"]) == (8, 2)  # 5, 8, never
    runs.downstream("rotation", 3, 0.1)
    runs.downstream("supervised", 3, 0.4)
    (cell,) = compare(pair_runs(runs.frame(), runs.histories())).to_dict("records")
    assert np.isinf(cell["epochs_to_match"])


def test_pretext_cost_in_total_and_shared(runs) -> None:
    for seed in range(2):
        pretext = runs.pretext(seed, images=4000)
        for labels in ("1", "5"):
            runs.downstream("rotation", seed, 0.6, after=pretext, dataset__labels_per_class=labels)
            runs.downstream("supervised", seed, 0.5, dataset__labels_per_class=labels)
    cells = compare(pair_runs(runs.frame(), runs.histories()))
    assert list(cells["pretext_images"]) == [4000, 4000]
    assert list(cells["pretext_images_shared"]) == [2000, 2000]
    assert list(cells["pretext_seconds"]) == [3, 3]
    assert list(cells["pretext_seconds_shared"]) == [1.5, 1.5]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"dataset.labels_per_class": "1", "freeze": "none"}, "labels_per_class=1 freeze=none"),
        (
            {"schedule.lr": "0.1", "pretext.schedule.lr": "0.2"},
            "schedule.lr=0.1 pretext.schedule.lr=0.2",
        ),
        ({}, "all pairs"),
    ],
)
def test_format_settings(settings: dict[str, str], line: str) -> None:
    assert format_settings(settings) == line
