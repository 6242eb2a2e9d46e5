"""The error that choosing a setting on validation images adds to a comparison of tuned arms.

Were the sweep run again, other settings would win by chance. Two arms with the same settings and
the same accuracies then differ because each got another one. An interval over the seeds of the two
winners does not know that: it is right about these winners and wrong about the arms, the more so
the fewer the validation images and the more the seeds.
"""

from __future__ import annotations

import numpy as np

from ssl_rot.report.comparison.estimates import Array, Estimate

_DRAWS = 1000


def selection_variance(validation: Array, test: Array) -> Array:
    """How much the test metric of one arm's winner varies because the choice does, ``[...]``.

    Args:
        validation: ``[..., settings, n]``, higher is better; the best mean over seeds is chosen.
        test: ``[..., settings, n]``, the metric that is compared. It enters this error alone,
            never the choice nor the difference, so that the test images still select nothing.
    """
    settings, n = validation.shape[-2:]
    if settings < 2 or n < 2:
        return np.zeros(validation.shape[:-2])
    # How often each setting would win: its mean varies over sweeps as it does over seeds. The
    # settings share their seeds, and so each draw has one weight per seed for all of them.
    weights = np.random.default_rng(0).normal(size=(n, _DRAWS)) / np.sqrt(n * (n - 1))
    means = validation.mean(axis=-1, keepdims=True)
    winners = (means + (validation - means) @ weights).argmax(axis=-2)
    chance = np.stack([(winners == k).mean(axis=-1) for k in range(settings)], axis=-1)
    # Half the expected squared distance between two winners, less what seeds alone make of it.
    test_means = test.mean(axis=-1, keepdims=True)
    seeds = (test - test_means) / np.sqrt(n * (n - 1))
    own = (seeds**2).sum(axis=-1, keepdims=True)
    of_seeds = own + own.swapaxes(-1, -2) - 2 * seeds @ seeds.swapaxes(-1, -2)
    distances = (test_means - test_means.swapaxes(-1, -2)) ** 2 - of_seeds
    variance = np.einsum("...i,...ij,...j->...", chance, distances, chance) / 2
    return np.asarray(np.maximum(variance, 0.0))


def add_selection_error(estimate: Estimate, variances: tuple[Array, Array]) -> Estimate:
    """The estimate of the difference between two winners as one between the two arms.

    Args:
        variances: ``[...]``, the :func:`selection_variance` of the arm and of the reference.
    """
    df = np.fmax(estimate.n - 1, 1.0)
    of_images = estimate.image_error**2
    parts = np.stack([estimate.error**2 - of_images, *variances])
    of_seeds = parts.sum(axis=0)
    uncertainty = (parts**2 / np.stack([estimate.df, df, df])).sum(axis=0)
    # Satterthwaite (1946, Biometrics Bull. 2:110)
    return estimate._replace(error=np.sqrt(of_seeds + of_images), df=of_seeds**2 / uncertainty)
