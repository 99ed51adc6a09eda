from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from frcnn_cli.runtime.signals import StopSignal, signals_put_off

pytestmark = pytest.mark.usefixtures("usual_signals")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_handlers_are_restored(number) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop = StopSignal()
    with stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_the_second_signal_has_its_usual_effect() -> None:
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_change_no_handler() -> None:
    handler, inside = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with StopSignal():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == [handler]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_put_off_to_the_end_of_the_block(number) -> None:
    came: list[str] = []
    earlier = signal.signal(number, lambda *_: came.append("signal"))
    try:
        with signals_put_off():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            came.append("end of the block")
    finally:
        signal.signal(number, earlier)
    assert came == ["end of the block", "signal", "signal"]


def test_a_signal_that_was_put_off_survives_an_error_in_the_block() -> None:
    handler = signal.getsignal(signal.SIGINT)

    def fail() -> None:
        with signals_put_off():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert signal.getsignal(signal.SIGINT) == handler


def test_ignored_signals_stay_ignored() -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal(), signals_put_off():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)


# Sends itself SIGINT where Python first looks for signals during the work, then at the second
# such place, and so on to its end: the beginning of each function, and the end of each call of C.
INTERRUPTED_EVERYWHERE = """
import faulthandler, signal, sys
from frcnn_cli.ops.threads import parallel_for
from frcnn_cli.runtime.executor import prefetch

def work():
    WORK

def interrupted_at(place):
    seen = 0
    def profile(frame, event, argument):
        nonlocal seen
        seen += event in ("call", "c_return")
        if seen == place:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)
    sys.setprofile(profile)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return seen >= place  # Python drops an exception in what runs at the end of an object

faulthandler.dump_traceback_later(60, exit=True)
work()
place = 1
while interrupted_at(place):
    place += 1
work()
print(place)
"""
WORK = {
    "prefetch": "[future.result() for _, future in prefetch(int, range(4), 1)]",
    "parallel_for": "__import__('torch').set_num_threads(2); parallel_for(range, (0,), 2)",
}


@pytest.mark.parametrize("name", WORK)
def test_an_interruption_at_any_place_leaves_no_lock_behind(name: str) -> None:
    script = INTERRUPTED_EVERYWHERE.replace("WORK", WORK[name])
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=90
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5
