"""How many workers a Ray has room for, and a Ray that cannot be joined."""

from __future__ import annotations

from typing import Any

import pytest

from augment.distribute.cluster import ray_session as cluster_session
from augment.distribute.cluster import usable_workers
from augment.errors import WorkerError
from tests.distribute.plain_worker import RAY_RUN
from tests.local_ray import start_ray


def test_there_are_no_more_workers_than_gpus(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_workers(RAY_RUN, "cpu", {"CPU": 1.0}) == 2
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 1.0, "GPU": 4.0}) == 2
    assert not caplog.records
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 9.0, "GPU": 1.0}) == 1
    assert "run.num_workers is 2, but Ray has 1 GPU(s)" in caplog.text


def test_a_cluster_is_asked_for_what_it_may_get_later() -> None:
    joined = RAY_RUN.model_copy(update={"address": "auto", "num_workers": 64})
    assert usable_workers(joined, "cuda", {"CPU": 8.0}) == 64
    every = joined.model_copy(update={"num_workers": "all", "threads_per_worker": 2})
    assert [usable_workers(every, "cuda", {"GPU": gpus}) for gpus in (0.0, 3.0)] == [0, 3]
    assert [usable_workers(every, "cpu", {"CPU": cpus}) for cpus in (1.0, 8.0)] == [1, 4]


@pytest.mark.parametrize(("share", "on_each"), [(1.0, 1), (0.5, 2), (0.3, 3), (1 / 3, 3), (0.1, 10), (0.6, 1)])
def test_workers_that_take_a_share_of_a_gpu(share: float, on_each: int, caplog: pytest.LogCaptureFixture) -> None:
    run = RAY_RUN.model_copy(update={"num_workers": "all", "gpus_per_worker": share})
    assert run.workers_per_gpu == on_each
    assert usable_workers(run, "cuda", {"CPU": 1.0, "GPU": 3.0}) == 3 * on_each
    assert usable_workers(run, "cpu", {"CPU": 3.0}) == 3
    assert not caplog.records
    assert usable_workers(run.model_copy(update={"num_workers": 40}), "cuda", {"GPU": 3.0}) == 3 * on_each
    assert "Ray has 3 GPU(s)" in caplog.text


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", [ConnectionError, Exception])
def test_a_ray_that_cannot_be_joined_is_a_message(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    import ray

    def refuse(**options: Any) -> None:
        raise kind(f"Could not find any running Ray instance at {options['address']}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(WorkerError, match=r"run\.address: 'auto': Ray could not be joined or started: Could not find"),
        cluster_session(RAY_RUN.model_copy(update={"address": "auto"})),
    ):
        pass


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_local_ray_is_our_own_whatever_cluster_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with cluster_session(RAY_RUN):
        import ray

        assert ray.cluster_resources()["CPU"] >= 2
    try:
        assert start_ray().cluster_resources()["CPU"] == 2
    finally:
        ray.shutdown()
