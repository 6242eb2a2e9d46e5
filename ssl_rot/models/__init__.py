"""Backbones with named stages, classification heads, and how both are built."""

from ssl_rot.models.backbone import Backbone, Classifier, StagedBackbone
from ssl_rot.models.build import build_backbone, build_head
from ssl_rot.models.heads import conv_head, linear_head, mlp_head
from ssl_rot.models.nin import nin
from ssl_rot.models.resnet import resnet
from ssl_rot.models.timm_backbone import TimmBackbone, timm_model

__all__ = [
    "Backbone",
    "Classifier",
    "StagedBackbone",
    "TimmBackbone",
    "build_backbone",
    "build_head",
    "conv_head",
    "linear_head",
    "mlp_head",
    "nin",
    "resnet",
    "timm_model",
]
