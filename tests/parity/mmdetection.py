"""The tiny ViTDet of detectors.py under mmdetection's names, as its runner saves one.

    pip install -r requirements.txt
    python mmdetection.py

mmdetection itself needs mmcv's compiled operators and is not imported: the modules below have the structure of those of its
projects/ViTDet (vit.py, simple_fpn.py), rpn_head.py, convfc_bbox_head.py and fcn_mask_head.py, so that torch names their parameters as
it does. The values are those of tests/golden/parity/detectron2_vitdet, put in by shape and order.
"""

import pickle

import torch
from torch import nn

from common import ROOT, folder

SOURCE = ROOT / "detectron2_vitdet" / "model.pkl"


class LN2d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))


class ConvModule(nn.Module):
    """mmcv's: a convolution without bias where a norm follows, which is called after its class ("norm_layer" for one that mmcv
    does not know)."""

    def __init__(self, inputs, outputs, kernel, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=not norm)
        if norm:
            self.add_module("norm_layer", LN2d(outputs))


class SimpleFPN(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        up = lambda inputs, outputs: nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.fpn1 = nn.Sequential(up(width, width // 2), LN2d(width // 2), nn.GELU(), up(width // 2, width // 4))
        self.fpn2 = nn.Sequential(up(width, width // 2))
        self.fpn3 = nn.Sequential(nn.Identity())
        self.fpn4 = nn.Sequential(nn.MaxPool2d(2, 2))
        inputs = [width // 4, width // 2, width, width]
        self.lateral_convs = nn.ModuleList(ConvModule(each, channels, 1) for each in inputs)
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in inputs)


class RPNHead(nn.Module):
    def __init__(self, channels, anchors):
        super().__init__()
        self.rpn_conv = nn.Sequential(*(ConvModule(channels, channels, 3, norm=False) for _ in range(2)))
        self.rpn_cls = nn.Conv2d(channels, anchors, 1)
        self.rpn_reg = nn.Conv2d(channels, 4 * anchors, 1)


class BoxHead(nn.Module):
    def __init__(self, channels, hidden, classes):
        super().__init__()
        self.fc_cls = nn.Linear(hidden, classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * classes)
        self.shared_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in range(4))
        self.shared_fcs = nn.ModuleList([nn.Linear(channels * 49, hidden)])


class MaskHead(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.conv_logits = nn.Conv2d(channels, classes, 1)


class RoIHead(nn.Module):
    def __init__(self, channels, hidden, classes):
        super().__init__()
        self.bbox_head = BoxHead(channels, hidden, classes)
        self.mask_head = MaskHead(channels, classes)


def fill(module, prefix, values):
    """Gives `module` the tensors of detectron2's module under `prefix`, in their order there, and returns its names."""
    theirs = [value for name, value in values.items() if name.startswith(prefix)]
    own = module.state_dict()
    assert [tuple(t.shape) for t in own.values()] == [t.shape for t in theirs], (prefix, list(own))
    return {name: torch.from_numpy(value) for name, value in zip(own, theirs)}


if __name__ == "__main__":
    with open(SOURCE, "rb") as file:
        values = pickle.load(file)["model"]
    width, channels = values["backbone.net.patch_embed.proj.weight"].shape[0], values["backbone.simfp_4.0.weight"].shape[0]
    hidden, classes = values["roi_heads.box_predictor.bbox_pred.weight"].shape[1], 5
    state = {
        name.replace("backbone.net.", "backbone."): torch.from_numpy(value)
        for name, value in values.items()
        if name.startswith("backbone.net.")
    }

    def put(prefix, part):
        state.update({f"{prefix}.{name}": value for name, value in part.items()})

    neck = SimpleFPN(width, channels)
    put("neck.fpn1.0", fill(neck.fpn1[0], "backbone.simfp_2.0.", values))
    put("neck.fpn1.1", fill(neck.fpn1[1], "backbone.simfp_2.1.", values))
    put("neck.fpn1.3", fill(neck.fpn1[3], "backbone.simfp_2.3.", values))
    put("neck.fpn2.0", fill(neck.fpn2[0], "backbone.simfp_3.0.", values))
    for level, steps in enumerate([4, 1, 0, 1]):
        for name, after in [("lateral_convs", 0), ("fpn_convs", 1)]:
            convs = getattr(neck, name)
            put(f"neck.{name}.{level}", fill(convs[level], f"backbone.simfp_{2 + level}.{steps + after}.", values))
    rpn, theirs = RPNHead(channels, 3), "proposal_generator.rpn_head"
    for i in range(2):
        put(f"rpn_head.rpn_conv.{i}", fill(rpn.rpn_conv[i], f"{theirs}.conv.conv{i}.", values))
    put("rpn_head.rpn_cls", fill(rpn.rpn_cls, f"{theirs}.objectness_logits.", values))
    put("rpn_head.rpn_reg", fill(rpn.rpn_reg, f"{theirs}.anchor_deltas.", values))
    roi = RoIHead(channels, hidden, classes)
    put("roi_head.bbox_head.fc_cls", fill(roi.bbox_head.fc_cls, "roi_heads.box_predictor.cls_score.", values))
    put("roi_head.bbox_head.fc_reg", fill(roi.bbox_head.fc_reg, "roi_heads.box_predictor.bbox_pred.", values))
    put("roi_head.bbox_head.shared_fcs.0", fill(roi.bbox_head.shared_fcs[0], "roi_heads.box_head.fc1.", values))
    for i in range(4):
        box, mask = roi.bbox_head.shared_convs[i], roi.mask_head.convs[i]
        put(f"roi_head.bbox_head.shared_convs.{i}", fill(box, f"roi_heads.box_head.conv{i + 1}.", values))
        put(f"roi_head.mask_head.convs.{i}", fill(mask, f"roi_heads.mask_head.mask_fcn{i + 1}.", values))
    put("roi_head.mask_head.upsample", fill(roi.mask_head.upsample, "roi_heads.mask_head.deconv.", values))
    put("roi_head.mask_head.conv_logits", fill(roi.mask_head.conv_logits, "roi_heads.mask_head.predictor.", values))
    # every name is one that a whole model of these modules has
    parts = {"neck": neck, "rpn_head": rpn, "roi_head": roi}
    expected = {f"{part}.{name}" for part, module in parts.items() for name in module.state_dict()}
    assert expected == {name for name in state if not name.startswith("backbone.")}
    meta = {"mmdet_version": "3.3.0", "dataset_meta": {"classes": tuple(f"thing {i}" for i in range(classes))}}
    torch.save({"meta": meta, "state_dict": state}, folder("mmdet_vitdet") / "model.pth")
