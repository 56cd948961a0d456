"""Peak memory on the CPU, counted by hand, and of inversions of the embedded model."""

from __future__ import annotations

import pytest
import torch

from augment.evaluation.memory import peak_bytes
from augment.evaluation.pool import Batch, InversionMethod
from augment.evaluation.throughput import recomputed_blocks
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split

CPU = torch.device("cpu")
KB = 1000  # 250 floats


def peak(compute):
    return peak_bytes(compute, CPU)


def test_what_is_freed_makes_room():
    def three_after_each_other():
        for _ in range(3):
            torch.ones(250)

    def three_at_once():
        return [torch.ones(250) for _ in range(3)]

    assert peak(three_after_each_other) == KB
    assert peak(three_at_once) == 3 * KB


def test_views_and_updates_in_place_take_no_memory():
    def compute():
        x = torch.ones(250)
        views = [x.view(5, 50), x[:10], x[None].mT]
        return views, x.add_(1.0), torch.ones(250, dtype=torch.float64)

    assert peak(compute) == KB + 2 * KB


def test_what_was_there_before_is_not_counted_and_freeing_it_is_no_credit():
    before = [torch.ones(2500)]

    def compute():
        before[0].mul_(2.0)
        before[0].view(10, 250)
        before.clear()
        return torch.ones(250)

    assert peak(compute) == KB


def test_what_the_backward_pass_needs_counts_until_it_is_done():
    x = torch.ones(250, requires_grad=True)

    def chain(length):
        y = x
        for _ in range(length):
            y = y.exp()  # keeps its result for the backward pass
        return y

    with torch.no_grad():
        assert peak(lambda: chain(6)) == 2 * KB
    assert peak(lambda: chain(6)) == 6 * KB
    # The most is needed at the second product: six results, the ones that backward starts from, and the gradient going
    # into the product and coming out of it. From then on every product frees one result more than it makes.
    assert peak(lambda: torch.autograd.grad(chain(6), x, torch.ones(250))) == 9 * KB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_is_the_allocators_peak_less_what_was_there():
    device = torch.device("cuda")
    before = torch.ones(2**20, device=device)
    assert peak_bytes(lambda: [before + 1.0 for _ in range(3)], device) == 3 * 4 * 2**20
    assert peak_bytes(before.sum, device) < 2**20


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig())


def inversion_peak(model, solver, size):
    val = load_split("val", limit=size)
    batch = Batch(model.denoiser(model.embed(val.captions)), model.encode(val.images), None)
    method = InversionMethod(solver={"name": solver}, stop={"max_steps": 2, "tolerance": 0.0})
    return peak(lambda: method.invert(batch, model.schedule(2, "ddim")))


def test_a_backward_pass_through_the_network_costs_memory_and_the_batch_is_linear(model):
    sizes = (1, 3)
    with_backward, without = ([inversion_peak(model, s, n) for n in sizes] for s in ("rnri", "anderson"))
    assert all(a > 3 * b for a, b in zip(with_backward, without, strict=True))
    for one, three in (with_backward, without):
        assert three / one == pytest.approx(3.0, rel=0.1)


def test_recomputed_blocks_save_memory_where_there_is_a_backward_pass_and_change_nothing(model):
    plain = [inversion_peak(model, name, 2) for name in ("rnri", "anderson")]
    with recomputed_blocks(model):
        recomputed = [inversion_peak(model, name, 2) for name in ("rnri", "anderson")]
    assert recomputed[0] < 0.6 * plain[0]
    assert recomputed[1] == plain[1]
    assert inversion_peak(model, "rnri", 2) == plain[0]

    val = load_split("val", limit=2)
    batch = Batch(model.denoiser(model.embed(val.captions)), model.encode(val.images), None)
    method = InversionMethod(solver={"name": "rnri"}, stop={"max_steps": 2, "tolerance": 0.0})
    found = method.invert(batch, model.schedule(2, "ddim")).latents
    with recomputed_blocks(model):
        torch.testing.assert_close(method.invert(batch, model.schedule(2, "ddim")).latents, found)
