"""Times FlashKAT (arXiv 2505.13813) on the tensors and models of backbone/examples/cuda_bench.rs, on the same GPU.

usage: python flashkat.py CHECKOUT   (of https://github.com/OSU-STARLAB/FlashKAT; needs torch, triton and timm)
"""

import sys
import time

import torch

sys.path.insert(0, sys.argv[1])
from rational_kat.flash_kat_1dgroup_triton import FlashKAT_Group  # noqa: E402

# Coefficients and groups as in FlashKAT's training scripts.
ORDERS = {"m": 6, "n": 4, "num_groups": 1, "den_groups": 8}


def seconds(call, rounds=20):
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(rounds):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / rounds


def rational(dtype):
    layer = FlashKAT_Group(768, ORDERS["num_groups"], ORDERS["den_groups"], ORDERS["m"], ORDERS["n"], "swish").cuda()
    x = torch.randn(1024, 197, 768, device="cuda", dtype=dtype, requires_grad=True)
    y = layer(x)
    dy = torch.randn_like(y)
    forward = seconds(lambda: layer(x))
    backward = seconds(lambda: torch.autograd.grad(y, [x, *layer.parameters()], dy, retain_graph=True))
    for name, took in [("forward", forward), ("backward", backward)]:
        print(f"FlashKAT {dtype} rational {name} {1e3 * took:.3f} ms")


def train(name, batch=128):
    import katransformer  # noqa: F401  registers the models
    import timm

    model = timm.create_model(name, drop_path_rate=0.1, **ORDERS).cuda().train()
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

    print(f"FlashKAT {name}, bf16 autocast, training, batch {batch}: {batch / seconds(step):.0f} images/s")


for dtype in [torch.float32, torch.bfloat16]:
    rational(dtype)
for size in ["tiny", "small", "base"]:
    train(f"flash_kat_{size}_patch16_224")
