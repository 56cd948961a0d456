"""Correlation of neighbours, in closed form."""

from __future__ import annotations

import pytest
import torch

from augment.scoring import autocorrelation


def test_by_hand():
    # pairs side by side (1*2 + 3*4) / 2 = 7, above each other (1*3 + 2*4) / 2 = 5.5, mean square 30 / 4 = 7.5
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    assert float(autocorrelation(x)) == pytest.approx((7.0 + 5.5) / 2 / 7.5)


def test_a_constant_is_1_a_checkerboard_minus_1_and_stripes_are_0():
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    patterns = [torch.ones(4, 6), (-1.0) ** (rows + columns), (-1.0) ** columns, torch.zeros(4, 6)]
    assert autocorrelation(torch.stack(patterns)[:, None]).tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])


def test_a_moving_average_is_half_in_its_direction_and_white_noise_0_on_average():
    white = torch.randn(64, 4, 32, 33, generator=torch.Generator().manual_seed(0))
    # neighbours of n_j + n_j+1 share one of two terms: 1/2 horizontally, 0 vertically
    averaged = white[..., :-1] + white[..., 1:]
    # 64 * 4 * 32 * 32 pairs each way: a standard error of 0.0014
    assert float(autocorrelation(white).mean()) == pytest.approx(0.0, abs=0.006)
    assert float(autocorrelation(averaged).mean()) == pytest.approx(0.25, abs=0.006)


def test_it_is_a_mean_over_channels_of_any_scale_per_sample():
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    alone = torch.stack([autocorrelation(x[:, i : i + 1]) for i in range(2)]).mean(dim=0)
    torch.testing.assert_close(autocorrelation(x * torch.tensor([1.0, 100.0]).view(1, 2, 1, 1)), alone)


def test_a_side_without_neighbours_is_refused():
    with pytest.raises(ValueError, match="8 x 1"):
        autocorrelation(torch.zeros(1, 1, 8, 1))
