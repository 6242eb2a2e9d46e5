"""Sources, splits and label budgets, augmentation, and batches on the device."""

from ssl_rot.data.augment import Augment
from ssl_rot.data.batches import Batches, Task
from ssl_rot.data.dataset import Dataset, prepare
from ssl_rot.data.digits import digits
from ssl_rot.data.folder import image_folder
from ssl_rot.data.huggingface import huggingface
from ssl_rot.data.images import Images
from ssl_rot.data.source import Source, Split
from ssl_rot.data.statistics import measure
from ssl_rot.data.torchvision_datasets import cifar10, cifar100, stl10, svhn

__all__ = [
    "Augment",
    "Batches",
    "Dataset",
    "Images",
    "Source",
    "Split",
    "Task",
    "cifar10",
    "cifar100",
    "digits",
    "huggingface",
    "image_folder",
    "measure",
    "prepare",
    "stl10",
    "svhn",
]
