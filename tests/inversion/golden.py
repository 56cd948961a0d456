"""The papers' algorithms written out straight, for one image, in float64, with nothing of `augment` in them.

Each walks from clean latents to noise over cumulative alphas, `ALPHAS` at `TIMES`, and returns where it ends. `Network`
remembers the points it was asked at, so that not only ends are compared but every iterate.
"""

from __future__ import annotations

import torch
from torch import nn

TIMES = (249, 499, 749, 999)  # in the order of inversion
SHAPE = (3, 4, 4)
CLEAN = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def alpha(t):
    """The cumulative alpha of timestep t: a straight line from 0.999 to 0.05 over a thousand steps."""
    return 0.999 + (0.05 - 0.999) * t / 999


ALPHAS = [(1.0 if i == 0 else alpha(TIMES[i - 1]), alpha(t), t) for i, t in enumerate(TIMES)]  # (a_{t-1}, a_t, t)


class Network(nn.Module):
    """eps(z, t): two convolutions about a tanh, small enough to differentiate densely, nonlinear enough to matter."""

    def __init__(self, dtype, gain=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
            self.second.weight.mul_(gain)
        self.to(dtype)
        self.asked = []

    def forward(self, z, t):
        self.asked.append(z.detach().clone())
        return self.second(torch.tanh(self.first(z) + t / 1000.0))


def psi(a):
    return (1.0 / a - 1.0) ** 0.5


def implicit(net, before, a_prev, a, t):
    """f of the papers: z = sqrt(a/a') z' + sqrt(a) (psi(a) - psi(a')) eps(z, t) (Song et al. 2021, equation 14)."""
    return lambda z: (a / a_prev) ** 0.5 * before + a**0.5 * (psi(a) - psi(a_prev)) * net(z, t)


def walk(net, one_step, **settings):
    """Invert `CLEAN` step by step; `one_step` solves z = f(z) from z'."""
    z = CLEAN
    for a_prev, a, t in ALPHAS:
        z = one_step(implicit(net, z, a_prev, a, t), z, a_prev=a_prev, a=a, t=t, net=net, **settings).detach()
    return z


def ddim(f, before, **_):
    """Dhariwal & Nichol 2021, section F: the reverse of a DDIM step, as if the prediction were that at z'."""
    return f(before)


def fixed_point(f, before, *, iterations, **_):
    """Pan et al. 2023, equation 7."""
    z = before
    for _ in range(iterations):
        z = f(z)
    return z


def anderson(g, before, *, iterations, m, **_):
    """Walker & Ni 2011, algorithm AA: x_{k+1} = sum alpha_i g(x_i), alpha = argmin |sum alpha_i f_i|, sum alpha = 1."""
    xs, gs = [before], []
    for _ in range(iterations):
        gs.append(g(xs[-1]))
        last_g, last_x = gs[-m - 1 :], xs[-m - 1 :]
        F = torch.stack([(g_i - x_i).flatten() for g_i, x_i in zip(last_g, last_x, strict=True)], dim=1)  # (D, k)
        k = F.shape[1]
        saddle = torch.zeros(k + 1, k + 1, dtype=F.dtype)  # of the Lagrangian
        saddle[:k, :k], saddle[k, :k], saddle[:k, k] = F.T @ F, 1.0, 1.0
        right = torch.zeros(k + 1, dtype=F.dtype)
        right[k] = 1.0
        weights = torch.linalg.solve(saddle, right)[:k]
        xs.append(sum(w * g_i for w, g_i in zip(weights, last_g, strict=True)))
    return xs[-1]


def anderson_prior(g, before, *, iterations, m, prior_weight, a_prev, a, **_):
    """The same with RNRI's Gaussian q(z_t | z_{t-1}) as further rows of the least squares."""
    beta = 1.0 - a / a_prev
    mu = (1.0 - beta) ** 0.5 * before
    xs, gs = [before], []
    for _ in range(iterations):
        gs.append(g(xs[-1]))
        f = (gs[-1] - xs[-1]).flatten()
        rows = range(max(0, len(gs) - m - 1), len(gs) - 1)
        if not rows:
            xs.append(gs[-1])
            continue
        dF = torch.stack([((gs[i + 1] - xs[i + 1]) - (gs[i] - xs[i])).flatten() for i in rows], dim=1)
        dG = torch.stack([(gs[i + 1] - gs[i]).flatten() for i in rows], dim=1)
        scale = (prior_weight * f.square().mean() / beta) ** 0.5
        matrix = torch.cat([dF, scale * dG])
        right = torch.cat([f, scale * (gs[-1] - mu).flatten()])
        gamma = torch.linalg.lstsq(matrix, right[:, None]).solution
        xs.append(gs[-1] - (dG @ gamma).view_as(before))
    return xs[-1]


def renoise(f, before, *, iterations, window, a_prev, a, t, net, **_):
    """Garibi et al. 2024, algorithm 1, lines 7-12, with equal weights on the last predictions."""
    z, predictions = before, []
    for _ in range(iterations):
        predictions.append(net(z, t))
        z = (a / a_prev) ** 0.5 * before + a**0.5 * (psi(a) - psi(a_prev)) * predictions[-1]
    last = predictions[-window:]
    return (a / a_prev) ** 0.5 * before + a**0.5 * (psi(a) - psi(a_prev)) * sum(last) / len(last)


def forward_step(f, before, *, iterations, rho, **_):
    """Hong et al. 2024, algorithm 1: start from DDIM inversion, then z <- z - rho (z - f(z))."""
    z = f(before)
    for _ in range(iterations - 1):
        z = z - rho * (z - f(z))
    return z


def gradient_descent(f, before, *, iterations, rho, **_):
    """Hong et al. 2024, for pixels: z <- z - rho grad 1/2 |z - f(z)|^2."""
    z = f(before).detach()
    for _ in range(iterations - 1):
        z.requires_grad_(True)
        (0.5 * (z - f(z)).square().sum()).backward()
        z = (z - rho * z.grad).detach()
    return z


def rnri(f, before, *, iterations, prior_weight, eta, a_prev, a, **_):
    """Samuel et al. 2025, equations 6 to 9: F = |z - f(z)|_1 - lambda log q(z_t | z_{t-1}), the best f(z) kept."""
    beta = 1.0 - a / a_prev
    z, best, least = before, None, torch.inf
    for _ in range(iterations):
        z = z.detach().requires_grad_(True)
        image = f(z)
        log_q = -0.5 * (z - (1.0 - beta) ** 0.5 * before).square().sum() / beta
        F = (z - image).abs().sum() - prior_weight * log_q
        F.backward()
        if F.item() < least:
            best, least = image, F.item()
        z = z - (1.0 / z.numel()) * F / (z.grad + eta)
    return best


def plain_newton(f, before, *, iterations, **_):
    """Newton-Raphson on the residual's norm alone."""
    z, best, least = before, None, torch.inf
    for _ in range(iterations):
        z = z.detach().requires_grad_(True)
        image = f(z)
        r = (z - image).abs().sum()
        r.backward()
        if r.item() < least:
            best, least = image, r.item()
        z = z - r / z.numel() / z.grad
    return best


def newton_krylov(f, before, *, iterations, dimension, **_):
    """Newton's method with the dense Jacobian: d minimises |r - J d| over the Krylov space (Saad & Schultz 1986)."""
    z = before
    for _ in range(iterations):
        r = (f(z) - z).flatten().detach()
        J = torch.eye(len(r), dtype=r.dtype) - torch.autograd.functional.jacobian(f, z).view(len(r), -1)
        space = [r]
        for _ in range(dimension - 1):
            space.append(J @ space[-1])
        basis = torch.linalg.qr(torch.stack(space, dim=1)).Q
        d = basis @ torch.linalg.lstsq(J @ basis, r[:, None]).solution
        z = z + d.view_as(z)
    return z


def rnri_released(net, *, iterations, prior_weight):
    """The released code's loop, in its own latents y = x + sigma n; the network sees y / sqrt(1 + sigma^2).

    Its loss is sum |f(y) - y| - alpha (-1/2 ((f(y) - z_0) / sigma)^2) with f(y) detached, its step loss / D / grad.
    """
    y = CLEAN
    for a_prev, a, t in ALPHAS:
        sigma, sigma_prev = psi(a), psi(a_prev)
        z_t, latent, best, best_score = y, y, None, torch.inf
        for _ in range(iterations):
            latent = latent.detach().requires_grad_(True)
            with torch.no_grad():
                noise_pred = net(latent / (1.0 + sigma**2) ** 0.5, t)
                following = z_t + (sigma - sigma_prev) * noise_pred
            f_x = (following - latent).abs() - prior_weight * (-0.5 * ((following - CLEAN) / sigma) ** 2)
            if f_x.mean() < best_score:
                best, best_score = following, f_x.mean()
            f_x.sum().backward()
            latent = latent - (1.0 / latent.numel()) * (f_x.sum() / latent.grad)
        y = best.detach()
    return y / (1.0 + sigma**2) ** 0.5  # of unit variance again


def edit_friendly(net, noise):
    """Huberman-Spiegelglas et al. 2024, algorithm 1, eta = 1: (x_T, maps by timestep); `noise` is n_t by `TIMES`."""
    x = {t: a**0.5 * CLEAN + (1.0 - a) ** 0.5 * n for (_, a, t), n in zip(ALPHAS, noise, strict=True)}
    start, maps = x[TIMES[-1]], {}
    for i in reversed(range(1, len(TIMES))):
        a_prev, a, t = ALPHAS[i]
        eps = net(x[t], t).detach()
        sigma = ((1.0 - a_prev) / (1.0 - a)) ** 0.5 * (1.0 - a / a_prev) ** 0.5
        predicted = (x[t] - (1.0 - a) ** 0.5 * eps) / a**0.5
        mu = a_prev**0.5 * predicted + (1.0 - a_prev - sigma**2) ** 0.5 * eps
        maps[t] = (x[TIMES[i - 1]] - mu) / sigma
        x[TIMES[i - 1]] = mu + sigma * maps[t]
    return start, maps
