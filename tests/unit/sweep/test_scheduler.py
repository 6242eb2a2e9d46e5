"""Which job starts next: seed by seed, nobody waits in a slot, the longest first."""

from __future__ import annotations

import random

import pytest

from ssl_rot.sweep.scheduler import Scheduler, Work


def job(number, pretext=None, *, pretext_images=0, images=10, key=None, floor=None, seed=0):
    return Work(number, key or f"job {number}", pretext, pretext_images, images, floor, seed)


def started(scheduler: Scheduler, count: int) -> list[int | None]:
    """The numbers of the next jobs, ``None`` where there is none to start."""
    return [work and work.number for work in (scheduler.next() for _ in range(count))]


def test_different_pretrainings_first_and_side_by_side_then_jobs_that_need_none():
    work = [job(0), job(1, "a", pretext_images=50), job(2, "a", pretext_images=50)]
    work += [job(3, "b", pretext_images=50), job(4)]
    assert started(Scheduler(work, 2), 5) == [1, 3, 0, 4, None]


def test_those_that_share_a_pretraining_start_as_soon_as_it_is_done():
    scheduler = Scheduler([job(0, "a"), job(1, "a"), job(2, "b"), job(3, "b")], 2)
    assert started(scheduler, 3) == [0, 2, None]
    scheduler.pretrained(2)
    assert started(scheduler, 2) == [3, None]
    scheduler.pretrained(0)
    assert started(scheduler, 2) == [1, None]
    assert not scheduler.is_done
    for number in range(4):
        scheduler.ended(number, finished=True)
    assert scheduler.is_done


def test_if_the_job_that_pretrains_ends_before_it_is_done_the_next_takes_over():
    scheduler = Scheduler([job(0, "a"), job(1, "a"), job(2, "a")], 2)
    assert started(scheduler, 2) == [0, None]
    scheduler.ended(0, finished=False)
    assert started(scheduler, 2) == [1, None]
    scheduler.pretrained(1)
    scheduler.ended(1, finished=False)  # after that, the weights are there
    assert started(scheduler, 1) == [2]


def test_the_longest_first_and_equal_ones_in_the_order_of_the_command():
    assert started(Scheduler([job(0, images=1), job(1, images=9), job(2, images=9)], 2), 3) == [
        1,
        2,
        0,
    ]
    long, short = job(0, "a", pretext_images=5), job(1, "b", pretext_images=50)
    assert started(Scheduler([long, short], 2), 2) == [1, 0]


def test_of_equally_long_jobs_those_at_once_measure_different_floors():
    work = [job(n, floor=floor, images=9 if n == 4 else 10) for n, floor in enumerate("aabbc")]
    assert started(Scheduler(work, 2), 5) == [0, 2, 1, 3, 4]
    without = [job(n, floor=None) for n in range(3)]
    assert started(Scheduler(without, 2), 3) == [0, 1, 2]


def test_a_job_that_no_longer_has_to_pretrain_is_as_long_as_the_rest_of_it():
    work = [job(0, "a", pretext_images=90), job(1, "a", pretext_images=90), job(2, images=50)]
    scheduler = Scheduler(work, 2)
    assert started(scheduler, 1) == [0]
    scheduler.pretrained(0)
    assert started(scheduler, 2) == [2, 1]


def test_of_jobs_with_the_same_result_one_is_trained():
    scheduler = Scheduler([job(0, key="same"), job(1, key="same"), job(2), job(3, key="same")], 2)
    assert started(scheduler, 3) == [0, 2, None]
    assert [work.number for work in scheduler.ended(0, finished=True)] == [1, 3]
    assert started(scheduler, 1) == [None]


def test_a_failed_one_makes_none_superfluous():
    scheduler = Scheduler([job(0, key="same"), job(1, key="same")], 2)
    assert started(scheduler, 2) == [0, None]
    assert scheduler.ended(0, finished=False) == []
    assert started(scheduler, 1) == [1]


@pytest.mark.parametrize("seed", range(30))
def test_every_job_is_run_once_whatever_ends_when(seed):
    """No pre-training is trained twice at once, and no job waits for one that is not running."""
    draws = random.Random(seed)
    work = [
        job(n, draws.choice([None, "a", "b", "c"]), images=draws.randint(1, 9),
            pretext_images=draws.randint(0, 9), key=f"key {draws.randint(0, 30)}",
            seed=draws.randint(0, 3))
        for n in range(40)
    ]  # fmt: skip
    slots, running, done, ready = draws.randint(1, 6), [], [], set()
    scheduler = Scheduler(work, slots)
    while not scheduler.is_done:
        while len(running) < slots and (started := scheduler.next()) is not None:
            running.append(started)
        assert running
        training = [w.pretext for w in running if w.pretext is not None and w.pretext not in ready]
        assert len(training) == len(set(training))
        assert len({w.key for w in running}) == len(running)
        current = draws.choice(running)
        if current.pretext is not None and current.pretext not in ready and draws.random() < 0.7:
            scheduler.pretrained(current.number)
            ready.add(current.pretext)
            continue
        running.remove(current)
        same = scheduler.ended(current.number, finished=draws.random() < 0.8)
        done += [current.number, *(other.number for other in same)]
    assert sorted(done) == list(range(40))


def sweep(seeds: int, lengths: list[int]) -> list[Work]:
    """Both arms of each seed at each length; a pre-training takes 100 images."""
    return [
        job(n, pretext and f"{pretext}{seed}", pretext_images=100 if pretext else 0,
            images=images, seed=seed)
        for n, (seed, pretext, images) in enumerate(
            (seed, pretext, images)
            for seed in range(seeds)
            for pretext in ("rotation", None)
            for images in lengths
        )
    ]  # fmt: skip


def seconds(work: list[Work], slots: int) -> tuple[float, dict[int, float]]:
    """When a sweep ends and when each of its seeds does, at an image a second."""
    scheduler, now, ends = Scheduler(work, slots), 0.0, {}
    running: list[tuple[float, bool, Work]] = []  # when it is pre-trained, or has ended
    pretrained: set[str] = set()
    while not scheduler.is_done:
        while len(running) < slots and (new := scheduler.next()) is not None:
            trains = new.pretext is not None and new.pretext not in pretrained
            running.append((now + (new.pretext_images if trains else new.images), trains, new))
        running.sort(key=lambda event: event[0])
        now, trains, first = running.pop(0)
        if trains:
            scheduler.pretrained(first.number)
            pretrained.add(str(first.pretext))
            running.append((now + first.images, False, first))
        else:
            scheduler.ended(first.number, finished=True)
            ends[first.seed] = now
    return now, ends


def test_seeds_are_finished_one_after_the_other_at_no_cost():
    """An interrupted sweep of many jobs leaves seeds that can be compared."""
    work = sweep(8, [5, 20, 80] * 3)
    total = 8 * (100 + 2 * 3 * (5 + 20 + 80))
    for slots in (1, 2, 4):
        end, ends = seconds(work, slots)
        assert end < 1.01 * total / slots
        assert [*dict(sorted(ends.items(), key=lambda item: item[1]))][:3] == [0, 1, 2]
        assert ends[2] < 0.55 * end


def test_in_a_sweep_of_few_jobs_the_longest_comes_first_whatever_its_seed():
    work = [job(n, images=images, seed=n) for n, images in enumerate([10, 10, 10, 30])]
    assert started(Scheduler(work, 2), 4) == [3, 0, 1, 2]
    assert seconds(work, 2)[0] == 30


def test_a_slot_pretrains_further_ahead_rather_than_stay_free():
    work = [job(n, "abc"[n // 9], pretext_images=5, images=9, seed=n // 9) for n in range(27)]
    assert started(Scheduler(work, 1), 3) == [0, 9, 18]
