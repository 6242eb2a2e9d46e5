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

from ssl_rot.report.comparison.estimates import Array, Estimate


def estimate_two_way(differences: Array, classes: NDArray[np.int_] | None = None) -> Estimate:
    """The mean of ``[n, images]`` differences in correctness, seeds and images both at random.

    The variance is V_seed + V_image - V_both: the means over images vary from seed to seed, the
    means over seeds from image to image, and both contain what is left within a seed and an image
    (Owen, 2007, Ann. Appl. Stat. 1:386; Cameron, Gelbach and Miller, 2011, J. Bus. Econ. Stat.
    29:238; V_both here is the unbiased one of the two-way analysis of variance). It is at least
    the larger of V_seed and V_image, and at least that of one test image. The degrees of freedom
    are those of Satterthwaite (1946, Biometrics Bull. 2:110).

    Args:
        differences: hit of the arm minus hit of the reference, for each seed and test image.
        classes: ``[images]``, the class of each image. Then every class has the same weight, so
            that the mean is the difference in balanced accuracy.
    """
    n, images = differences.shape
    if classes is None:
        classes = np.zeros(images, dtype=int)
    labels, members = np.unique(classes, return_counts=True)
    weights = 1 / (len(labels) * members)  # of one image of each class
    by_class = [differences[:, classes == label] for label in labels]

    # [class, n] and a list of [images of the class]
    seed_means = np.stack([part.mean(axis=1) for part in by_class])
    of_seed = seed_means.mean(axis=0)
    mean = of_seed.mean()
    # One test image is the finest difference that can be seen.
    resolution = weights.max()
    if n < 2:
        undefined, none = np.array(np.nan), np.array(0.0)
        return Estimate(np.array(mean), undefined, none, np.array(1.0), undefined, undefined)

    image, both, image_squares, both_squares = 0.0, 0.0, 0.0, 0.0
    for part, means, size in zip(by_class, seed_means, members, strict=True):
        if size < 2:
            continue
        image_means = part.mean(axis=0)
        residuals = part - image_means - means[:, np.newaxis] + means.mean()
        share = (1 / len(labels)) ** 2 / size
        of_image = share * image_means.var(ddof=1)
        of_both = share * (residuals**2).sum() / ((n - 1) * (size - 1)) / n
        image, both = image + of_image, both + of_both
        image_squares += of_image**2 / (size - 1)
        both_squares += of_both**2 / ((n - 1) * (size - 1))
    seed_sd = max(of_seed.std(ddof=1), resolution)
    seed = seed_sd**2 / n
    variance = max(seed + image - both, seed, image, resolution**2)
    df = variance**2 / (seed**2 / (n - 1) + image_squares + both_squares)
    image_error = np.sqrt(max(image - both, 0.0))
    values = (mean, np.sqrt(variance), df, n, seed_sd, image_error)
    return Estimate(*(np.array(value, dtype=float) for value in values))


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
