"""Signals that ask a run to end."""

from __future__ import annotations

import os
import signal

import pytest

from ssl_rot.training.signals import Interrupted, Interrupts


class Deleted:
    """Whose end meets a signal: what is raised then, Python drops."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_dropped_ends_the_run_where_training_would_begin():
    with Interrupts().installed():
        thing = Deleted()
        del thing
        with pytest.raises(Interrupted), Interrupts().installed():
            pytest.fail("training began")


def test_outside_of_training_a_signal_ends_at_once():
    with Interrupts().installed(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_in_training_each_signal_waits_for_the_epoch(name):
    signum = getattr(signal, name)
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted, match=name), interrupts.training():
        os.kill(os.getpid(), signum)
    assert interrupts.pending == signum


def test_in_training_a_first_signal_waits_and_a_second_does_not():
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.training():
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.pending == signal.SIGINT  # raised at the end of the block only
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.training():
        twice()


def twice() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)


def test_programs_may_ask_for_the_same_end_several_times():
    names = ("SIGINT", "SIGUSR1", "SIGTERM", "SIGTERM")
    interrupts, asked = Interrupts(), list[None]()
    with interrupts.installed(), pytest.raises(Interrupted, match="SIGINT"), interrupts.training():
        asked += [os.kill(os.getpid(), getattr(signal, name)) for name in names]
    assert len(asked) == 4  # none of them ended the block


def test_a_request_that_comes_again_leaves_alone_what_ends_already():
    with Interrupts().installed():
        inner = Interrupts()
        with pytest.raises(Interrupted), inner.installed(), inner.training():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGUSR1)


def test_what_is_to_be_done_before_the_end_can_be_cut_short():
    done = []

    def before() -> None:
        done.append(1)
        if len(done) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("a second Ctrl-C did not end it")

    with Interrupts(before).installed(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    assert done == [1]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts().installed():
        pass
    assert signal.getsignal(signal.SIGINT) is before
