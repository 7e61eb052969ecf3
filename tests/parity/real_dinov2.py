"""What timm computes with DINOv2's published weights, to compare this suite with; the weights stay where they are.

    real_dinov2.py WEIGHTS TO      WEIGHTS: vit_small_patch14_dinov2.safetensors of the Hugging Face hub; TO: a new file
    cargo run --release -p kat-backbone --example compare_tokens -- WEIGHTS TO

Needs timm, torch and safetensors (requirements.txt).
"""

import sys

import timm
import torch
from safetensors.torch import load_file, save_file

from common import image

# The side that the positions are of, and one that they are resampled for.
SIDES = [518, 224]


def main(weights, to):
    # Half precision as it is stored: timm would round resampled positions to it again.
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    made = {}
    for side in SIDES:
        model = timm.create_model("vit_small_patch14_dinov2", img_size=side, num_classes=0).eval()
        filtered = timm.models.vision_transformer.checkpoint_filter_fn(dict(state), model)
        model.load_state_dict(filtered)
        x = image(side, side, batch=1, seed=side)
        with torch.no_grad():
            tokens = model.double().forward_features(x.double()).float()
        made |= {f"{side}.image": x, f"{side}.tokens": tokens.contiguous()}
    save_file(made, to, metadata={"note": f"timm {timm.__version__}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
