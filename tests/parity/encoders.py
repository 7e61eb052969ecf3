"""Tiny classifiers of timm, Hugging Face transformers and torchvision with random weights, as each of them saves its own, and
the logits (features where there is no head) that each computes in double precision.

    pip install -r requirements.txt && python encoders.py
"""

import torch

from common import expect, folder, image, stir

DIM, DEPTH, HEADS, CLASSES = 24, 2, 3, 5


def compute(model, x, call=lambda out: out):
    double = model.double()
    with torch.no_grad():
        out = call(double(x.double()))
    model.float()
    return out


def timm_models():
    import timm
    from timm.models import save_for_hf

    common = dict(embed_dim=DIM, depth=DEPTH, num_heads=HEADS)
    small = dict(common, img_size=32, patch_size=8)
    for name, architecture, arguments in [
        ("timm_vit", "vit_small_patch16_224", dict(small, num_classes=CLASSES)),
        ("timm_deit_distilled", "deit_small_distilled_patch16_224", dict(small, num_classes=CLASSES)),
        ("timm_deit3", "deit3_small_patch16_224", dict(small, num_classes=CLASSES)),
        ("timm_dinov2", "vit_small_patch14_dinov2", dict(common, img_size=42, num_classes=0)),
        ("timm_dinov2_reg4", "vit_small_patch14_reg4_dinov2", dict(common, img_size=42, num_classes=0)),
        ("timm_mae", "vit_base_patch16_224", dict(small, num_classes=CLASSES, global_pool="avg")),
        ("timm_clip", "vit_base_patch16_clip_quickgelu_224", dict(small, num_classes=CLASSES)),
        ("timm_siglip_gap", "vit_base_patch16_siglip_gap_224", dict(small, num_classes=CLASSES)),
    ]:
        model = stir(timm.create_model(architecture, **arguments))
        model.pretrained_cfg["architecture"] = architecture
        path = folder(name)
        save_for_hf(model, path, model_args=arguments, safe_serialization=True)
        for file in path.iterdir():
            if file.name not in ("model.safetensors", "config.json"):
                file.unlink()
        side = arguments["img_size"]
        x = image(side, side)
        expect(path, f"timm {timm.__version__}", image=x, output=compute(model, x))


def transformers_models():
    import transformers as hf

    sizes = dict(
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        image_size=32,
        patch_size=8,
    )
    labels = dict(id2label={i: f"label {i}" for i in range(CLASSES)}, label2id={f"label {i}": i for i in range(CLASSES)})
    logits = lambda out: out.logits
    for name, model, call in [
        ("hf_vit", hf.ViTForImageClassification(hf.ViTConfig(**sizes, **labels)), logits),
        ("hf_deit", hf.DeiTForImageClassification(hf.DeiTConfig(**sizes, **labels)), logits),
        ("hf_deit_teacher", hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**sizes, **labels)), logits),
        ("hf_dinov2", hf.Dinov2Model(hf.Dinov2Config(**sizes)), lambda out: out.pooler_output),
        (
            "hf_dinov2_registers",
            hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4)),
            lambda out: out.pooler_output,
        ),
        ("hf_clip", hf.CLIPVisionModel(hf.CLIPVisionConfig(**sizes)), lambda out: out.pooler_output),
    ]:
        path = folder(name)
        stir(model).save_pretrained(path)
        x = image(32, 32)
        expect(path, f"transformers {hf.__version__}", image=x, output=compute(model, x, call))


def torchvision_models():
    import torchvision
    from torchvision.models.vision_transformer import VisionTransformer

    model = stir(
        VisionTransformer(
            image_size=32,
            patch_size=8,
            num_layers=DEPTH,
            num_heads=HEADS,
            hidden_dim=DIM,
            mlp_dim=4 * DIM,
            num_classes=CLASSES,
        )
    )
    path = folder("torchvision_vit")
    torch.save(model.state_dict(), path / "model.pth")
    x = image(32, 32)
    expect(path, f"torchvision {torchvision.__version__}", image=x, output=compute(model, x))


if __name__ == "__main__":
    timm_models()
    transformers_models()
    torchvision_models()
