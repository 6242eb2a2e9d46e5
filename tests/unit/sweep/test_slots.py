"""How many jobs run at once, on which cores and cards."""

from __future__ import annotations

import pytest

from ssl_rot.errors import ConfigError
from ssl_rot.sweep import slots
from ssl_rot.sweep.slots import Slot, describe_sharing, find_setting_faults, make_slots

AUTO = {"slots": "auto", "gpus": "auto", "per_gpu": 1}


def test_without_cards_one_slot_and_one_thread_a_core():
    assert make_slots(AUTO, [2, 5], []) == (Slot(0, (2,), 1), Slot(1, (5,), 1))


@pytest.mark.parametrize(
    ("count", "cores", "expected"),
    [
        (1, 4, [(0, 1, 2, 3)]),
        (2, 5, [(0, 1), (2, 3)]),
        (3, 2, [(0,), (1,), (0,)]),
    ],
)
def test_each_slot_has_its_share_of_the_cores_as_threads(count, cores, expected):
    made = make_slots(AUTO | {"slots": count}, range(cores), [])
    assert [slot.cores for slot in made] == expected
    assert {slot.threads for slot in made} == {max(1, cores // count)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["0", "1", "GPU-7"]),
        ({"gpus": 2}, ["0", "1"]),
        ({"per_gpu": 2}, ["0", "1", "GPU-7", "0", "1", "GPU-7"]),
        ({"gpus": 2, "per_gpu": 2, "slots": 3}, ["0", "1", "0"]),
        ({"gpus": 0, "slots": 2}, ["", ""]),
    ],
)
def test_jobs_are_spread_over_the_cards(settings, expected):
    made = make_slots(AUTO | settings, range(12), ["0", "1", "GPU-7"])
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in made] == expected
    assert {slot.environment["OMP_NUM_THREADS"] for slot in made} == {str(12 // len(expected))}


def test_without_cards_the_variable_stays_as_it_is():
    assert "CUDA_VISIBLE_DEVICES" not in make_slots(AUTO, [0], [])[0].environment


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": 3}, "hydra.launcher.gpus=3 is not allowed: this process sees 2"),
        ({"slots": 3}, "hydra.launcher.slots=3 is not allowed: with hydra.launcher.per_gpu=1, 2"),
    ],
)
def test_more_than_the_cards_allow_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_slots(AUTO | settings, range(8), ["0", "1"])


@pytest.mark.parametrize("key", AUTO)
@pytest.mark.parametrize("value", ["some", -1, 1.5, True, None, [0]])
def test_a_bad_value_is_a_fault_that_says_what_is_allowed(key, value):
    (fault,) = find_setting_faults(AUTO | {key: value})
    assert fault.startswith(f"hydra.launcher.{key}=")
    assert "it must be" in fault


def test_good_values_are_none():
    assert find_setting_faults(AUTO) == []
    assert find_setting_faults({"slots": 3, "gpus": 0, "per_gpu": 2}) == []


@pytest.mark.parametrize(
    ("chosen", "count", "expected"),
    [(None, 2, ["0", "1"]), ("3, 5", 2, ["3", "5"]), ("", 0, []), ("GPU-a,GPU-b", 1, ["GPU-a"])],
)
def test_cards_are_named_as_this_process_sees_them(monkeypatch, chosen, count, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert slots.visible_cards() == expected


def test_sharing_says_whether_mps_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert "MPS is not running" in describe_sharing(2)
    (tmp_path / "control").touch()
    assert "2 jobs share each GPU. CUDA MPS is running" in describe_sharing(2)
