"""A tiny ViTDet Mask R-CNN of detectron2 with random weights, as its model zoo saves one (a pickle of numpy arrays), and what
it finds in an image.

    pip install -r requirements.txt -r requirements-detectors.txt
    PYTHONPATH=<a checkout of facebookresearch/detectron2 at 02b5c4e> python detectors.py

Nothing of detectron2 needs to be compiled for it: pooling and suppression are torchvision's.
"""

import pickle
from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from common import expect, folder, image, stir

CANVAS, PRETRAIN, DIM, DEPTH, HEADS, CHANNELS, HIDDEN, CLASSES = 96, 64, 24, 2, 2, 16, 24, 5


def model():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import SimpleFeaturePyramid, ViT
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.meta_arch import GeneralizedRCNN
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
    from detectron2.modeling.roi_heads import (
        FastRCNNConvFCHead,
        FastRCNNOutputLayers,
        MaskRCNNConvUpsampleHead,
        StandardROIHeads,
    )

    scales = (1 / 4, 1 / 8, 1 / 16, 1 / 32)
    levels = ["p2", "p3", "p4", "p5"]
    pooler = lambda side: ROIPooler(output_size=side, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")
    return GeneralizedRCNN(
        backbone=SimpleFeaturePyramid(
            net=ViT(
                img_size=CANVAS,
                patch_size=16,
                embed_dim=DIM,
                depth=DEPTH,
                num_heads=HEADS,
                window_size=2,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                window_block_indexes=[0],
                residual_block_indexes=[],
                use_rel_pos=True,
                pretrain_img_size=PRETRAIN,
                out_feature="last_feat",
            ),
            in_feature="last_feat",
            out_channels=CHANNELS,
            scale_factors=(4.0, 2.0, 1.0, 0.5),
            top_block=LastLevelMaxPool(),
            norm="LN",
            square_pad=CANVAS,
        ),
        proposal_generator=RPN(
            in_features=levels + ["p6"],
            head=StandardRPNHead(in_channels=CHANNELS, num_anchors=3, conv_dims=[-1, -1]),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[32], [64], [128], [256], [512]],
                aspect_ratios=[0.5, 1.0, 2.0],
                strides=[4, 8, 16, 32, 64],
                offset=0.0,
            ),
            anchor_matcher=Matcher(thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=Box2BoxTransform(weights=[1.0, 1.0, 1.0, 1.0]),
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_topk=(2000, 1000),
            post_nms_topk=(1000, 1000),
            nms_thresh=0.7,
        ),
        roi_heads=StandardROIHeads(
            num_classes=CLASSES,
            batch_size_per_image=512,
            positive_fraction=0.25,
            proposal_matcher=Matcher(thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False),
            box_in_features=levels,
            box_pooler=pooler(7),
            box_head=FastRCNNConvFCHead(
                input_shape=ShapeSpec(channels=CHANNELS, height=7, width=7),
                conv_dims=[CHANNELS] * 4,
                fc_dims=[HIDDEN],
                conv_norm="LN",
            ),
            box_predictor=FastRCNNOutputLayers(
                input_shape=ShapeSpec(channels=HIDDEN),
                test_score_thresh=0.05,
                box2box_transform=Box2BoxTransform(weights=(10, 10, 5, 5)),
                num_classes=CLASSES,
            ),
            mask_in_features=levels,
            mask_pooler=pooler(14),
            mask_head=MaskRCNNConvUpsampleHead(
                input_shape=ShapeSpec(channels=CHANNELS, width=14, height=14),
                num_classes=CLASSES,
                conv_dims=[CHANNELS] * 5,
                conv_norm="LN",
            ),
        ),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
        input_format="RGB",
    )


if __name__ == "__main__":
    network = stir(model())
    path = folder("detectron2_vitdet")
    state = OrderedDict((name, value.numpy()) for name, value in network.state_dict().items())
    with open(path / "model.pkl", "wb") as file:
        pickle.dump({"model": state, "__author__": "detectron2", "matching_heuristics": True}, file)
    x = image(80, CANVAS, batch=1)[0]
    with torch.no_grad():
        found = network.inference([{"image": x, "height": 80, "width": CANVAS}], do_postprocess=False)[0]
    print(len(found), "found, scores", found.scores[:5].tolist())
    expect(
        path,
        "detectron2 02b5c4e",
        image=x,
        boxes=found.pred_boxes.tensor,
        scores=found.scores,
        classes=found.pred_classes,
        masks=found.pred_masks[:8],
    )
