"""Evidence that stays valid for those who look after every seed and stop when they like.

A p value is for one look at a number of seeds that was fixed beforehand. Looking after each of 40
seeds and stopping at the first p below 0.05 is wrong far more often than 5 in 100.
"""

from __future__ import annotations

import numpy as np

from ssl_rot.report.comparison.estimates import Array

# The standard deviation, over the alternatives that are mixed, of the true mean in units of the
# differences' standard deviation. It decides which effects are found soonest, not the validity.
_EFFECT_SD = 1.0


def t_e_process(differences: Array, resolution: float = 0.0) -> Array:
    """The e-value after each of ``[..., n]`` differences, in the order of the seeds.

    The likelihood ratio of the t statistics, with effect sizes mixed over a normal distribution,
    against a mean of zero and any standard deviation. It starts at 1, and without a difference it
    ever reaches 20 in at most 5 of 100 comparisons, however long one goes on (Ville's inequality).

    The test images are taken as given: what it finds, it finds for these.

    From Wang and Ramdas (2025), "Anytime-valid t-tests and confidence sequences for Gaussian means
    with unknown variance", Sequential Analysis 44; as a Bayes factor, Gönen et al. (2005), Am.
    Stat. 59:252.

    Args:
        resolution: as in ``estimate_over_seeds``; a larger spread only ever lowers the e-values.
    """
    n = np.arange(1, differences.shape[-1] + 1)
    sums = differences.cumsum(axis=-1)
    of_mean = sums**2 / n
    spread = np.maximum((differences**2).cumsum(axis=-1) - of_mean, (n - 1) * resolution**2)
    total = of_mean + spread
    prior = _EFFECT_SD**2
    share = np.divide(of_mean, total, out=np.zeros_like(total), where=total > 0)
    shrinkage = n * prior / (1 + n * prior)
    return np.asarray(np.exp(-0.5 * np.log1p(n * prior) - n / 2 * np.log1p(-share * shrinkage)))


def anytime_p(differences: Array, resolution: float = 0.0) -> Array:
    """A p value that is valid at every look: 1 over the largest e-value so far, ``[...]``."""
    return np.asarray(np.minimum(1.0, 1 / t_e_process(differences, resolution).max(axis=-1)))
