"""A linear support vector machine, solved exactly by Newton's method."""

from __future__ import annotations

import numpy as np

BLOCK_ROWS = 8192


def _blocks(x):
    """Yield (slice, float64 rows with a last column of ones)."""
    for start in range(0, len(x), BLOCK_ROWS):
        block = x[start : start + BLOCK_ROWS].astype(np.float64)
        yield slice(start, start + len(block)), np.hstack([block, np.ones([len(block), 1])])


def decide(x, weights):
    """x [N, D] and weights [D + 1] (the last one is the bias) => signed distances [N]."""
    return np.concatenate([block @ weights for _, block in _blocks(x)])


def _loss(weights, margins, cost):
    """Half the squared norm of the weights + cost * sum of max(0, 1 - margin)^2."""
    return 0.5 * weights @ weights + cost * np.square(np.maximum(1.0 - margins, 0.0)).sum()


def fit(x, signs, cost=1.0, max_steps=100):
    """Weights of the L2-regularised squared-hinge classifier (as scikit-learn's LinearSVC).

    Minimises 1/2 |v|^2 + cost * sum_n max(0, 1 - y_n v.(x_n, 1))^2. The loss is quadratic as long
    as the same points are inside the margin, so Newton's method ends at the minimum after finitely
    many steps (Keerthi & DeCoste 2005).

    Args:
      x: [N, D].
      signs: [N], -1 or 1.
      cost: weight of the points against that of the norm.
      max_steps: bound for the Newton steps.

    Returns:
      [D + 1] float64; the last entry is the bias.
    """
    signs = np.asarray(signs, np.float64)
    weights, margins = np.zeros(x.shape[1] + 1), np.zeros(len(x))
    loss = _loss(weights, margins, cost)
    for _ in range(max_steps):
        is_inside = margins < 1.0
        hessian, right = np.eye(len(weights)), np.zeros(len(weights))
        for span, block in _blocks(x):
            kept, y = block[is_inside[span]], signs[span][is_inside[span]]
            hessian += 2.0 * cost * kept.T @ kept
            right += 2.0 * cost * y @ kept
        goal = np.linalg.solve(hessian, right)
        goal_margins = signs * decide(x, goal)
        step, smallest = 1.0, 1e-8
        while step > smallest:
            trial = weights + step * (goal - weights)
            trial_margins = margins + step * (goal_margins - margins)
            trial_loss = _loss(trial, trial_margins, cost)
            if trial_loss < loss:
                break
            step /= 2.0
        if step <= smallest or loss - trial_loss <= 1e-12 * loss:
            break
        weights, margins, loss = trial, trial_margins, trial_loss
    return weights
