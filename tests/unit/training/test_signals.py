"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from ssl_rot.training.signals import Interrupted, Interrupts, deferred_signals


class Deleted:
    """Receives a signal in ``__del__``, where Python drops exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_dropped_stops_the_run_before_training():
    with Interrupts().installed():
        thing = Deleted()
        del thing
        with pytest.raises(Interrupted), Interrupts().installed():
            pytest.fail("training started")


def test_outside_of_training_a_signal_takes_effect_immediately():
    with Interrupts().installed(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_during_training_each_signal_waits_for_the_end_of_the_epoch(name, request):
    signum = getattr(signal, name)
    interrupts = Interrupts()
    request.addfinalizer(partial(signal.signal, signum, signal.getsignal(signum)))
    signal.signal(signum, signal.SIG_DFL)  # under nohup, SIGHUP is ignored
    with interrupts.installed(), pytest.raises(Interrupted, match=name), interrupts.training():
        os.kill(os.getpid(), signum)
    assert interrupts.pending == signum


def test_under_nohup_a_lost_terminal_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts().installed() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.pending is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_during_training_a_second_ctrl_c_does_not_wait():
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.training():
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.pending == signal.SIGINT  # raised only at the end of the block
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.training():
        twice()


def twice() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)


def test_repeated_signals_from_programs_count_once():
    names = ("SIGINT", "SIGUSR1", "SIGTERM", "SIGTERM")
    interrupts, sent = Interrupts(), list[None]()
    with interrupts.installed(), pytest.raises(Interrupted, match="SIGINT"), interrupts.training():
        sent += [os.kill(os.getpid(), getattr(signal, name)) for name in names]
    assert len(sent) == 4  # none of them ended the block


def test_a_repeated_signal_does_not_disturb_the_shutdown():
    with Interrupts().installed():
        inner = Interrupts()
        with pytest.raises(Interrupted), inner.installed(), inner.training():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGUSR1)


def test_a_second_ctrl_c_interrupts_what_runs_before_the_exit():
    done = []

    def before_exit() -> None:
        done.append(1)
        if len(done) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("a second Ctrl-C did not end it")

    with Interrupts(before_exit).installed(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    assert done == [1]


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts().installed():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_deferred_signals_take_effect_at_the_end_of_the_block():
    happened = []

    def interrupted_block() -> None:
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            happened.append("block ended")

    with Interrupts(before_exit=lambda: happened.append("stopped")).installed():
        with pytest.raises(Interrupted):
            interrupted_block()
        with pytest.raises(Interrupted):  # the second one, and no longer deferred
            os.kill(os.getpid(), signal.SIGINT)
    assert happened == ["block ended", "stopped"]


def test_without_a_handler_of_ours_nothing_is_deferred(request):
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        os.kill(os.getpid(), signal.SIGINT)
