import base64
import json
import zlib

import numpy as np
import pytest

from common.experiments.items import ItemKey, ItemLedger, _from_base85

KEY = ItemKey("main", "a", "h" * 64, 0)


@pytest.fixture
def ledger(tmp_path):
    return ItemLedger(tmp_path / "items")


def draw(name: str, n: int = 1250) -> np.ndarray:
    dice = np.random.default_rng(0)
    return {
        "right or wrong": lambda: (dice.uniform(size=n) < 0.9).astype(float),
        "normal": lambda: dice.normal(3.0, 2.0, size=n),
        "uniform": lambda: dice.uniform(size=n),
        "reciprocal ranks": lambda: 1.0 / dice.integers(1, 300, n),
        "one outlier": lambda: np.append(dice.normal(size=n - 1), -1e6),
        "log-likelihoods": lambda: np.log(dice.uniform(size=n)),
        "equal": lambda: np.full(n, 0.1),
    }[name]()


@pytest.mark.parametrize(
    "name", ["right or wrong", "normal", "uniform", "reciprocal ranks", "one outlier", "log-likelihoods", "equal"]
)
def test_values_come_back_within_a_fraction_of_their_spread(ledger, name):
    values = draw(name)
    ledger.append("toy", KEY, {"metric": values})
    found = ledger.read("toy")[KEY]["metric"]
    kept = values[np.arange(1000) * 1250 // 1000]
    assert found.total == 1250 and found.values.shape == (1000,)
    low, high = np.quantile(kept, [0.25, 0.75])
    # Half a step of rounding.
    assert np.abs(found.values - kept).max() <= 1.01 * (high - low) / 1.35 / 4 / 2 + 1e-5 * np.ptp(kept) + 1e-12


def test_right_and_wrong_come_back_exactly_and_small_sets_whole(ledger):
    values = np.array([1.0, 0.0, 1.0])
    ledger.append("toy", KEY, {"top1": values, "one": [0.25]})
    found = ledger.read("toy")[KEY]
    assert found["top1"].values.tolist() == [1.0, 0.0, 1.0] and found["top1"].total == 3
    assert found["one"].values.tolist() == [0.25]


def test_a_paper_of_five_arms_ten_seeds_and_two_metrics_stays_under_100_kb(ledger):
    dice = np.random.default_rng(1)
    for arm in range(5):
        for seed in range(10):
            metrics = {"retrieval/mrr": dice.normal(size=5000), "retrieval/log_likelihood": dice.uniform(size=5000)}
            ledger.append("toy", ItemKey("comparison", f"arm_{arm}", "0" * 64, seed), metrics)
    assert ledger.path("toy").stat().st_size < 100_000
    assert len(ledger.read("toy")) == 50


@pytest.mark.parametrize("size", range(12))
def test_base_85_is_read_as_the_standard_library_does(size):
    content = np.random.default_rng(size).bytes(size)
    assert _from_base85(base64.b85encode(content).decode()) == content


@pytest.mark.parametrize("text", ["a b", "~~~~~", "ä1234"])
def test_what_is_no_base_85_is_refused(text):
    with pytest.raises(ValueError):
        base64.b85decode(text)
    with pytest.raises(ValueError):
        _from_base85(text)


def test_of_two_lines_of_a_run_the_last_counts(ledger):
    for value in (1.0, 2.0):
        ledger.append("toy", KEY, {"m": [value]})
    assert ledger.read("toy")[KEY]["m"].values.tolist() == [2.0]


def line(**changes) -> str:
    entry = {"total": 2, "count": 2, "width": 1, "levels": [0.0, 1.0]}
    entry |= {"codes": base64.b85encode(zlib.compress(bytes([0, 1]))).decode()}
    return json.dumps(KEY._asdict() | {"metrics": {"m": entry | changes}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line()[:40], "not valid JSON"),
        ("{}", "the field 'experiment' is missing"),
        (line(count=3), "it has 3 values of 2; at most 1000 are kept"),
        (line(total=10**6, count=10**6), "it has 1000000 values of 1000000"),
        (line(codes="~~~~~"), "its codes are no base 85"),
        (line(codes=base64.b85encode(zlib.compress(bytes(10**6))).decode()), "its codes are not 2 of 1 bytes"),
        (line(levels=[0.0]), "its values cannot be read (index 1 is out of bounds"),
        (line().replace("[0.0, 1.0]", "[0.0, NaN]"), "NaN is not a number"),
        (line().replace('"seed": 0', '"seed": -1'), "it names no run"),
        (line().replace('"seed": 0', '"seed": true'), "it names no run"),
    ],
)
def test_a_broken_line_is_named_and_skipped(ledger, text, message):
    ledger.append("toy", KEY._replace(seed=1), {"m": [0.5]})
    with ledger.path("toy").open("a") as file:
        file.write(text + "\n")
    found, warnings = ledger.scan("toy")
    assert list(found) == [KEY._replace(seed=1)]
    (warning,) = warnings
    assert warning.startswith(f"{ledger.path('toy')}:2: skipped a broken line of items: {message}")
