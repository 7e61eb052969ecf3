"""Loads what `classify export --format hf` writes in timm, and compares logits with those of the model it came from.

    load_hf.py CLASSIFY [NAME...]      CLASSIFY: the program; NAME: folders of tests/golden/parity

Needs timm, torch and safetensors (requirements.txt).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

PARITY = Path(__file__).parent.parent / "golden/parity"
# models that timm has; others (queries of two heads, no class head) are not its own
NAMES = [
    "timm_vit", "timm_deit_distilled", "timm_deit3", "timm_dinov2", "timm_dinov2_reg4", "timm_mae", "timm_clip",
    "timm_siglip_gap", "hf_vit", "hf_deit", "hf_deit_teacher", "torchvision_vit",
]


def difference(classify, name):
    folder = PARITY / name
    weights = next(path for path in sorted(folder.iterdir()) if path.stem == "model")
    expected = load_file(folder / "expected.safetensors")
    with tempfile.TemporaryDirectory() as scratch:
        to = Path(scratch) / "exported"
        command = [classify, "export", "--format", "hf", "--checkpoint", str(weights), str(to)]
        told = subprocess.run(command + HEADS.get(name, []), capture_output=True, text=True)
        if told.returncode:
            return f"export failed: {told.stderr.strip()}"
        arguments = json.loads((to / "config.json").read_text())["model_args"]
        model = timm.create_model(f"local-dir:{to}", pretrained=True).eval()
        assert model.num_classes == arguments["num_classes"], (model.num_classes, arguments)
    logits = model.double()(expected["image"].double())
    return (logits - expected["output"].double()).abs().max().item()


# what the files do not tell
HEADS = {"torchvision_vit": ["--set", "model.heads=3"]}


def main(classify, *names):
    worst = 0.0
    with torch.no_grad():
        for name in names or NAMES:
            found = difference(classify, name)
            print(f"{name}: {found}")
            worst = max(worst, found if isinstance(found, float) else float("inf"))
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main(*sys.argv[1:])
