"""Work that must see the state as it is at one moment and would hold the loop up for long: done by a forked child.

The child has all memory as it was when it began, shares it until one of the two writes to it, and is gone when it is
done. It closes what it inherited (a listening socket that it held open would take visitors nobody answers) and ends
without any of what this process does at its end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Callable
from typing import Final, NoReturn

DONE_WITHIN_S: Final = 300.0  # a million files take seconds; a child that hangs must not keep its memory for ever
_NICE: Final = 10  # visitors first
_PROBLEM_BYTES_MAX: Final = 1000
_STANDARD_DESCRIPTORS: Final = 3


class ChildError(Exception):
    """The child could not do its work; the message says why. Nothing else came of it."""


async def in_child(work: Callable[[], object]) -> None:
    """Do some work in a child, and wait for it. It is killed when this is cancelled.

    Raises:
        ChildError: the work failed, the child was killed, or it took too long.
        OSError: there is no room for a child.
    """
    pid, reading = _fork(work)
    ending = asyncio.ensure_future(asyncio.to_thread(_end_of, pid, reading))
    try:
        async with asyncio.timeout(DONE_WITHIN_S):
            problem = await asyncio.shield(ending)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        await ending
        raise ChildError(f"not done within {DONE_WITHIN_S:.0f} s") from None
    except asyncio.CancelledError:
        os.kill(pid, signal.SIGKILL)
        await ending
        raise
    if problem:
        raise ChildError(problem)


def _fork(work: Callable[[], object]) -> tuple[int, int]:
    """Begin the child; give its id, and the pipe on which it tells its problem."""
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # Python warns of other threads' locks. The child runs nothing that waits for one: it folds memory to bytes
            # and writes a file.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        os.close(reading)
        raise
    else:
        if pid == 0:
            _run(work, writing)
        return pid, reading
    finally:
        os.close(writing)


def _run(work: Callable[[], object], writing: int) -> NoReturn:
    """Be the child."""
    status = 1
    try:
        _leave_the_parent(keep=writing)
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - told to the parent; a child must never run the parent's code
        os.write(writing, (str(error) or repr(error)).encode()[:_PROBLEM_BYTES_MAX])
    finally:
        os._exit(status)


def _leave_the_parent(*, keep: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    gc.disable()  # it would touch, and so copy, every page
    os.closerange(_STANDARD_DESCRIPTORS, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    os.nice(_NICE)


def _end_of(pid: int, reading: int) -> str:
    """Wait for a child's end; give its problem, empty where it has none."""
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return ""
    return told or f"ended by signal {-code}"
