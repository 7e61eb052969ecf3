"""Copies a tree of class folders with each image's short side at most SIDE, as JPEG of quality 90.
usage: shrink.py FROM TO SIDE"""
import sys
from pathlib import Path
from PIL import Image
src, dst, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for f in sorted(src.rglob("*.jpg")):
    out = dst / f.relative_to(src); out.parent.mkdir(parents=True, exist_ok=True)
    im = Image.open(f).convert("RGB"); r = side / min(im.size)
    if r < 1: im = im.resize([max(1, round(s * r)) for s in im.size], Image.LANCZOS)
    im.save(out, quality=90)
