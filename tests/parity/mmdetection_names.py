"""Whether mmdetection's own heads have the names and shapes that mmdetection.py writes.

    pip install -r requirements.txt mmcv-lite==2.1.0 mmengine six terminaltables pycocotools shapely && pip install --no-deps mmdet==3.3.0
    python mmdetection_names.py

mmcv's compiled operators are replaced by empty modules: nothing is computed, only built. ViTDet's backbone and pyramid are not in the
package mmdet but in its repository, projects/ViTDet.
"""

import sys
import types

import torch
from torch import nn


class Operators(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {"__init__": lambda self, *_, **__: nn.Module.__init__(self)})


for name in ["", ".carafe", ".merge_cells", ".modulated_deform_conv", ".nms", ".deform_conv", ".roi_align", ".point_sample"]:
    sys.modules[f"mmcv.ops{name}"] = Operators(f"mmcv.ops{name}")

import mmcv
import mmcv.cnn.bricks.transformer
import mmengine.registry

mmcv.ops = sys.modules["mmcv.ops"]
mmcv.cnn.bricks.transformer.MultiScaleDeformableAttention = nn.Module

import mmdet.models
from mmdet.registry import MODELS

from common import ROOT
from mmdetection import LN2d

mmengine.registry.MODELS.register_module(module=type("LN2d", (LN2d,), {"__init__": lambda self, n, eps=0: LN2d.__init__(self, n)}))
norm = dict(type="LN2d", requires_grad=True)


def coder(stds):
    return dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=stds)


heads = {
    "rpn_head": dict(
        type="RPNHead",
        in_channels=16,
        feat_channels=16,
        num_convs=2,
        anchor_generator=dict(type="AnchorGenerator", scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=coder([1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
        loss_bbox=dict(type="L1Loss"),
    ),
    "roi_head.bbox_head": dict(
        type="Shared4Conv1FCBBoxHead",
        in_channels=16,
        conv_out_channels=16,
        fc_out_channels=24,
        roi_feat_size=7,
        num_classes=5,
        norm_cfg=norm,
        bbox_coder=coder([0.1, 0.1, 0.2, 0.2]),
        reg_class_agnostic=False,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False),
        loss_bbox=dict(type="L1Loss"),
    ),
    "roi_head.mask_head": dict(
        type="FCNMaskHead",
        num_convs=4,
        in_channels=16,
        conv_out_channels=16,
        num_classes=5,
        norm_cfg=norm,
        loss_mask=dict(type="CrossEntropyLoss", use_mask=True),
    ),
}
own = {}
for prefix, config in heads.items():
    state = MODELS.build(config).state_dict()
    own.update({f"{prefix}.{name}": tuple(value.shape) for name, value in state.items()})
written = torch.load(ROOT / "mmdet_vitdet" / "model.pth")["state_dict"]
written = {name: tuple(value.shape) for name, value in written.items() if name.startswith(tuple(heads))}
assert own == written, set(own) ^ set(written)
print(len(own), "names and shapes are those of mmdetection", mmdet.__version__)
