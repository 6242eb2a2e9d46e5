"""Named random streams and torch's global ones."""

from __future__ import annotations

import pytest
import torch

from ssl_rot.seeding import derive, seeded


@pytest.fixture
def cuda_calls(monkeypatch):
    """Fakes two GPUs in ``torch.cuda``. Returns the calls, and the state of CUDA."""
    calls: list[tuple[object, ...]] = []
    state = {"initialized": False}

    def record(name, result=None):
        def call(*args):
            calls.append((name, *args))
            return result

        monkeypatch.setattr(torch.cuda, name, call)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: state["initialized"])
    record("is_available", True)
    record("device_count", 2)
    record("current_device", 1)
    record("get_rng_state", "the state before")
    for name in ("set_rng_state", "manual_seed", "manual_seed_all", "_lazy_init", "_lazy_call"):
        record(name)
    return calls, state


def test_a_run_on_the_cpu_makes_no_cuda_call(cuda_calls):
    calls, _ = cuda_calls
    with seeded(0, "noise"):
        torch.rand(3)
    assert calls == []


def test_only_the_gpu_in_use_is_seeded_and_restored(cuda_calls):
    calls, state = cuda_calls
    state["initialized"] = True
    with seeded(0, "noise"):
        pass
    assert calls == [
        ("current_device",),
        ("get_rng_state", 1),
        ("manual_seed", derive(0, "noise")),
        ("set_rng_state", "the state before", 1),
    ]


def test_the_cpu_stream_is_that_of_manual_seed_and_is_restored():
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    with seeded(3, "head"):
        drawn = torch.rand(5)
    assert torch.equal(torch.rand(4), expected)
    torch.manual_seed(derive(3, "head"))
    assert torch.equal(torch.rand(5), drawn)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(((0, 1, 11), (0, 11, 1)), ((0, 111), (0, 1, 11)), ((1, 0), (0, 1))),
        *(((123456,), (123457,)), ((0, "validation"), (0, "valid"))),  # all of each counts
    ],
)
def test_the_order_of_names_and_the_boundaries_between_them_count(one, other):
    assert derive(*one) != derive(*other)
