"""Times PyTorch's ViT (timm) and FlashKAT (arXiv 2505.13813) on the tensors and models of backbone/examples/cuda_bench.rs,
on the same GPU, under bfloat16 autocast.

usage: python peers.py [CHECKOUT]
CHECKOUT is of https://github.com/OSU-STARLAB/FlashKAT; needs torch and timm, and triton for FlashKAT.
"""

import statistics
import sys

import timm
import torch

# Coefficients and groups as in FlashKAT's training scripts.
ORDERS = {"m": 6, "n": 4, "num_groups": 1, "den_groups": 8}
WARM_UP, ROUNDS = 10, 20


def milliseconds(call):
    """The median of the calls by the GPU's clock."""
    for _ in range(WARM_UP):
        call()
    moments = [torch.cuda.Event(enable_timing=True) for _ in range(ROUNDS + 1)]
    moments[0].record()
    for moment in moments[1:]:
        call()
        moment.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(moments, moments[1:]))


def rational(dtype):
    from rational_kat.flash_kat_1dgroup_triton import FlashKAT_Group

    layer = FlashKAT_Group(768, ORDERS["num_groups"], ORDERS["den_groups"], ORDERS["m"], ORDERS["n"], "swish").cuda()
    x = torch.randn(1024, 197, 768, device="cuda", dtype=dtype, requires_grad=True)
    y = layer(x)
    dy = torch.randn_like(y)
    forward = milliseconds(lambda: layer(x))
    backward = milliseconds(lambda: torch.autograd.grad(y, [x, *layer.parameters()], dy, retain_graph=True))
    for name, took in [("forward", forward), ("backward", backward)]:
        print(f"FlashKAT {dtype} rational {name} {took:.3f} ms", flush=True)


def train(name, batch, **options):
    model = timm.create_model(name, drop_path_rate=0.1, weight_init="", **options).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    images = torch.randn(batch, 3, 224, 224).pin_memory()
    targets = torch.arange(batch, device="cuda")
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(model(images.cuda(non_blocking=True)), targets)
        loss.backward()
        optimizer.step()

    took = milliseconds(step)
    print(f"{name} bf16 autocast, train, batch {batch}: {took:.2f} ms, {1e3 * batch / took:.0f} images/s", flush=True)
    model.eval()
    x = images.cuda()

    @torch.inference_mode()
    @torch.autocast("cuda", torch.bfloat16)
    def forward():
        model(x)

    took = milliseconds(forward)
    print(f"{name} bf16 autocast, forward, batch {batch}: {took:.2f} ms, {1e3 * batch / took:.0f} images/s", flush=True)


print(f"PyTorch {torch.__version__}, timm {timm.__version__}, {torch.cuda.get_device_name()}", flush=True)
train("vit_small_patch16_224", 128)
train("vit_small_patch16_224", 256)
if len(sys.argv) > 1:
    sys.path.insert(0, sys.argv[1])
    import katransformer  # noqa: E402, F401  registers the models

    rational(torch.bfloat16)
    rational(torch.float32)
    train("flash_kat_small_patch16_224", 128, **ORDERS)
    train("flash_kat_small_patch16_224", 256, **ORDERS)
for size in ["tiny", "base"]:
    train(f"vit_{size}_patch16_224", 128)
    if len(sys.argv) > 1:
        train(f"flash_kat_{size}_patch16_224", 128, **ORDERS)
