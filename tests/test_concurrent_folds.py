"""Folds trained concurrently in threads: all run, errors stop the others, a signal is never lost."""

import threading
import time

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mmjax.errors import Interrupted, NonFiniteError
from mmjax.train.execution.concurrent_folds import run_concurrently
from mmjax.train.run import _by_fold


def test_two_at_a_time_begun_in_order():
    """Breaks when a job runs twice or never, or more than `width` run at once."""
    begun, running, most, lock = [], [0], [0], threading.Lock()
    meet = threading.Barrier(2)

    def job(number):
        def work(stop):
            with lock:
                begun.append(number)
                running[0] += 1
                most[0] = max(most[0], running[0])
            meet.wait(10)  # two must be here for either to go on
            with lock:
                running[0] -= 1
            assert not stop()

        return work

    run_concurrently([job(i) for i in range(6)], 2, lambda: False)
    assert sorted(begun) == list(range(6))
    assert begun[:2] in ([0, 1], [1, 0])
    assert most[0] == 2


def test_an_error_stops_the_others_and_is_raised():
    """The others are asked to save and stop; their Interrupted must not hide the error, nor a later job begin."""
    saved, begun = [], []

    def fails(stop):
        del stop
        raise NonFiniteError("fold 1 is not finite")

    def trains(stop):
        begun.append(0)
        while not stop():
            pass
        saved.append(0)
        raise Interrupted("saved")

    with pytest.raises(NonFiniteError, match="fold 1"):
        run_concurrently([trains, fails, lambda stop: begun.append(2)], 2, lambda: False)
    assert saved == [0]
    assert begun == [0]


@pytest.mark.parametrize("width", [1, 2])
def test_a_signal_is_raised_even_where_no_job_noticed_it(width):
    """Asked to stop while the last running job ended well: the jobs that never began must not count as done."""
    asked, done = threading.Event(), []

    def job(stop):
        if width == 1 and stop():
            raise Interrupted("between two dispatches")
        done.append(1)
        asked.set()

    with pytest.raises(Interrupted):
        run_concurrently([job] * 3, width, asked.is_set)
    assert len(done) < 3


def test_what_a_job_leaves_is_done_behind_the_next_and_all_of_it_before_the_end():
    """Breaks when a model is saved before the next fold may begin, or a run ends with one unsaved."""
    began, done = threading.Event(), []

    def first(stop):
        del stop
        return lambda: done.append(began.wait(10))  # ends only once the second job runs

    def second(stop):
        began.set()
        assert not stop()
        return lambda: done.append("second")

    run_concurrently([first, second], 1, lambda: False)
    assert done == [True, "second"]


def left_and_stopped(left: Exception, stopped: Exception, ended: list):
    """Two jobs: the first leaves `left` to be raised once the second trains; that one is then stopped, and raises `stopped`."""
    training = threading.Event()

    def leaves(stop):
        del stop

        def rest():
            training.wait(10)
            raise left

        return rest

    def trains(stop):
        training.set()
        while not stop():
            time.sleep(0.001)
        ended.append(0)
        raise stopped

    return [leaves, trains]


@pytest.mark.parametrize("width", [1, 2])
def test_an_error_in_what_is_left_stops_the_jobs_and_is_raised(width):
    """As a full disk: the fold that trains saves and stops, and its Interrupted does not hide the error."""
    saved, begun = [], []
    jobs = left_and_stopped(NonFiniteError("left"), Interrupted("saved"), saved)
    with pytest.raises(NonFiniteError, match="left"):
        run_concurrently([*jobs, lambda stop: begun.append(2)], width, lambda: False)
    assert saved == [0]
    assert begun == []


def test_a_signal_waits_for_what_is_left():
    """Breaks when a fold that was trained is lost because the next was stopped."""
    done = []

    def first(stop):
        del stop
        return lambda: (time.sleep(0.1), done.append(0))

    def second(stop):
        raise Interrupted("saved")

    with pytest.raises(Interrupted):
        run_concurrently([first, second], 1, lambda: False)
    assert done == [0]


@pytest.mark.parametrize("width", [1, 2])
def test_of_several_interruptions_the_one_that_saved_is_shown(width):
    """Fold 0 waits for a program to predict with while fold 1, many epochs on, saves a checkpoint and says where."""
    waited = Interrupted("while what trained models predict with was compiled")
    jobs = left_and_stopped(waited, Interrupted("saved in checkpoints", saved=True), [])
    with pytest.raises(Interrupted, match="saved in checkpoints"):
        run_concurrently(jobs, width, lambda: False)


def test_while_folds_are_encoded_blas_has_one_thread():
    """Breaks if each fold's thread starts as many of BLAS as there are cores, which spin on one another's."""

    def threads(_: int) -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    with threadpool_limits(2):
        assert _by_fold(threads, [0, 1]) == [{1}, {1}]
        assert threads(0) == {2}
