"""Times a classifier on the CPU in PyTorch (torch.compile, autocast) and OpenVINO, to set beside `classify bench`.

    pip install torch==2.8.0 timm==1.0.3 openvino onnx
    python tests/parity/bench_cpu.py vit_small_patch16_224 --batch 8 [--train] [--kat FOLDER]

FOLDER makes the published KAT known: katransformer.py (Adamdad/kat), and a package kat_rational whose __init__ gives
kat_1dgroup_torch's KAT_Group_Torch the name KAT_Group (Adamdad/rational_kat_cu). Prints the best of several rounds.
"""

import argparse
import sys
import tempfile
import time
import warnings


def best_ms(work, rounds):
    for _ in range(2):
        work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--train", action="store_true", help="a step with AdamW, PyTorch only")
    parser.add_argument("--kat", help="folder with the published KAT")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.kat:
        sys.path.insert(0, options.kat)
        import katransformer  # noqa: F401
    import timm
    import torch

    images = torch.randn(options.batch, 3, 224, 224)
    labels = torch.zeros(options.batch, dtype=torch.long)
    for bf16 in (False, True):
        model = timm.create_model(options.model)
        compiled = torch.compile(model)
        autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

        def infer():
            with torch.no_grad(), autocast():
                compiled(images)

        def train():
            optimizer.zero_grad()
            with autocast():
                loss = torch.nn.functional.cross_entropy(compiled(images), labels)
            loss.backward()
            optimizer.step()

        model.train(options.train)
        ms = best_ms(train if options.train else infer, options.rounds)
        print(f"torch.compile {'bf16' if bf16 else 'f32'}: {ms:.1f} ms", flush=True)
    if options.train:
        return
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        model = timm.create_model(options.model).eval()
        torch.onnx.export(model, (images,), path, dynamo=False, opset_version=17)
        for numbers in ("f32", "bf16"):
            network = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": numbers})
            request, x = network.create_infer_request(), images.numpy()
            print(f"OpenVINO {numbers}: {best_ms(lambda: request.infer({0: x}), options.rounds):.1f} ms", flush=True)


if __name__ == "__main__":
    main()
