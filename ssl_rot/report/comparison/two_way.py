"""Estimates for which both the seeds and the test images are samples.

With other test images the same networks would differ by another amount. An interval over seeds
alone knows nothing of that: it becomes ever narrower with more seeds, around a difference that
holds for these images only. Psycholinguists know this as the language-as-fixed-effect fallacy
(Clark, 1973, J. Verbal Learning Verbal Behav. 12:335), with participants and words in place of
seeds and images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ssl_rot.report.comparison.estimates import Array, Estimate, estimate_over_seeds


def estimate_two_way(differences: Array, classes: NDArray[np.int_] | None = None) -> Estimate:
    """The mean of ``[..., n, images]`` differences in correctness, seeds and images both samples.

    The variance is V_seed + V_image - V_both: the means over images vary from seed to seed, the
    means over seeds from image to image, and both contain what is left within a seed and an image
    (Owen, 2007, Ann. Appl. Stat. 1:386; Cameron, Gelbach and Miller, 2011, J. Bus. Econ. Stat.
    29:238; V_both here is the unbiased one of the two-way analysis of variance). It is at least
    V_seed, and at least that of one test image.

    Args:
        differences: hit of the arm minus hit of the reference, for each seed and test image.
        classes: ``[images]``, the class of each image. Then every class has the same weight, so
            that the mean is the difference in balanced accuracy.
    """
    groups = np.zeros(differences.shape[-1], dtype=int) if classes is None else classes
    labels, sizes = np.unique(groups, return_counts=True)
    parts = [_analyze(differences[..., groups == label]) for label in labels]
    seed_means, of_image, of_both = (np.stack(part) for part in zip(*parts, strict=True))
    # The finest difference that can be seen: one image, of the smallest class.
    resolution = 1 / (len(labels) * sizes.min())
    over_seeds = estimate_over_seeds(seed_means.mean(axis=0), resolution)

    # The mean over k classes has 1/k^2 of the sum of their variances.
    image, both = (part.sum(axis=0) / len(labels) ** 2 for part in (of_image, of_both))
    image = np.maximum(image - both, 0.0)
    variance = np.maximum(over_seeds.error**2 + image, resolution**2)
    return over_seeds._replace(error=np.sqrt(variance), image_error=np.sqrt(image))


def _analyze(differences: Array) -> tuple[Array, Array, Array]:
    """The seeds' means ``[..., n]``, and V_image and V_both ``[...]``, of the images of a class."""
    n, images = differences.shape[-2:]
    seed_means = differences.mean(axis=-1, keepdims=True)
    image_means = differences.mean(axis=-2, keepdims=True)
    around_mean = image_means - image_means.mean(axis=-1, keepdims=True)
    residuals = differences - seed_means - around_mean
    image_df = max(images - 1, 1)
    of_image = (around_mean**2).sum(axis=(-2, -1)) / (image_df * images)
    of_both = (residuals**2).sum(axis=(-2, -1)) / (max(n - 1, 1) * image_df * n * images)
    return seed_means[..., 0], of_image, of_both


def recall_differences(
    differences: Array, classes: NDArray[np.int_]
) -> tuple[NDArray[np.int_], Estimate]:
    """The classes, and for each the difference in its recall, of shape ``[classes]``."""
    labels = np.unique(classes)
    estimates = [estimate_two_way(differences[:, classes == label]) for label in labels]
    return labels, Estimate.stack(estimates)


def mcnemar_p(differences: NDArray[np.int_]) -> Array:
    """Two-sided exact p value of McNemar (1947) for one pair of runs, from ``[..., images]``.

    It treats the images as the sample and the two trained networks as given. What it says holds
    for these two networks and not for the next seed.
    """
    gained, lost = (differences > 0).sum(axis=-1), (differences < 0).sum(axis=-1)
    smaller = np.minimum(gained, lost)
    return np.asarray(np.minimum(1.0, 2 * stats.binom.cdf(smaller, gained + lost, 0.5)))
