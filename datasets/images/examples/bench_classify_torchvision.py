"""The peer of bench_classify.rs: torchvision's ImageNet training transforms with Pillow, one thread.

    python datasets/examples/bench_classify_torchvision.py FILE.jpg ...

Needs torch, torchvision and pillow. Prints images/s of the fastest of seven rounds of 500 images.
"""
import io
import sys
import time

import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

torch.set_num_threads(1)
pipeline = T.Compose([
    T.RandomResizedCrop(224, interpolation=InterpolationMode.BICUBIC),
    T.RandomHorizontalFlip(),
    T.ToTensor(),
    T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
files = [open(path, "rb").read() for path in sys.argv[1:]]
fastest = float("inf")
for _ in range(7):
    start = time.perf_counter()
    for i in range(500):
        pipeline(Image.open(io.BytesIO(files[i % len(files)])).convert("RGB"))
    fastest = min(fastest, time.perf_counter() - start)
print(f"torchvision, 1 thread: {500 / fastest:.0f} images/s")
