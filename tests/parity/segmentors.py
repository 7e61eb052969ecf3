"""A tiny ViT with UperNet of mmsegmentation with random weights, as it saves one, and its scores of an image that is no
multiple of the patch and has another grid than the position embedding; and images as OpenCV resizes them.

    pip install -r requirements.txt -r requirements-segmentors.txt && python segmentors.py
"""

import sys
import types

import cv2
import numpy
import torch

from common import expect, folder, image, stir

# mmcv-lite has no compiled operators. A ViT with UperNet uses none, but mmsegmentation imports them all.
absent = types.ModuleType("mmcv.ops")


def operator(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (torch.nn.Module,), {})


absent.__getattr__ = operator
sys.modules["mmcv.ops"] = absent

DIM, DEPTH, HEADS, SIDE, PATCH, CHANNELS, CLASSES = 24, 4, 3, 32, 8, 8, 6


def model(neck, final_norm):
    import mmseg
    from mmseg.models import FCNHead, MultiLevelNeck, UPerHead, VisionTransformer
    from torch import nn

    class Network(nn.Module):
        """EncoderDecoder's parts under its names."""

        def __init__(self):
            super().__init__()
            norm = dict(type="BN", requires_grad=True)
            head = dict(num_classes=CLASSES, norm_cfg=norm, align_corners=False, dropout_ratio=0.1)
            self.backbone = VisionTransformer(
                img_size=(SIDE, SIDE),
                patch_size=PATCH,
                embed_dims=DIM,
                num_layers=DEPTH,
                num_heads=HEADS,
                out_indices=(0, 1, 2, 3),
                norm_cfg=dict(type="LN", eps=1e-6),
                final_norm=final_norm,
                interpolate_mode="bicubic",
                patch_bias=not neck,
            )
            if neck:
                self.neck = MultiLevelNeck(in_channels=[DIM] * 4, out_channels=DIM, scales=[4, 2, 1, 0.5])
            self.decode_head = UPerHead(
                in_channels=[DIM] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6), channels=CHANNELS, **head
            )
            self.auxiliary_head = FCNHead(
                in_channels=DIM, in_index=3, channels=CHANNELS, num_convs=1, concat_input=False, **head
            )

        def forward(self, x):
            maps = self.backbone(x)
            maps = self.neck(maps) if neck else maps
            scores = self.decode_head(maps)
            size = x.shape[2:]
            return nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)

    return mmseg.__version__, Network()


if __name__ == "__main__":
    for name, neck, final_norm in [("mmseg_ln_mln", True, True), ("mmseg_plain", False, False)]:
        version, network = model(neck, final_norm)
        stir(network)
        path = folder(name)
        classes = tuple(f"thing {i}" for i in range(CLASSES))
        meta = dict(dataset_meta=dict(classes=classes, palette=[[i, i, i] for i in range(CLASSES)]), epoch=1)
        torch.save(dict(meta=meta, state_dict=network.state_dict()), path / "model.pth")
        x = image(40, 44, batch=1)
        with torch.no_grad():
            scores = network.double()(x.double())
        expect(path, f"mmsegmentation {version}", image=x, scores=scores)
    path = folder("opencv")
    random = numpy.random.default_rng(1).integers(0, 256, (45, 60, 3), dtype=numpy.uint8)
    tensors = {"image": torch.from_numpy(random)}
    for height, width in [(64, 85), (30, 40), (33, 21), (90, 120), (45, 31)]:
        out = cv2.resize(random, (width, height), interpolation=cv2.INTER_LINEAR)
        tensors[f"{height}x{width}"] = torch.from_numpy(out)
    even = numpy.ascontiguousarray(random[:44])
    tensors["half"] = torch.from_numpy(cv2.resize(even, (30, 22), interpolation=cv2.INTER_LINEAR))
    expect(path, f"opencv {cv2.__version__}", **tensors)
