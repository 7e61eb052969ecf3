"""Label maps of three classes (ground 0, inside 1, border 2) of a COCO folder of one class with RLE masks, for `segment`.

usage: three_classes.py COCO TO; needs numpy and Pillow
Border is what of an object is nearer to its outline than 1/128 of the image's short side. Images are linked."""
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def decode(rle):
    """COCO's compressed runs, column by column."""
    counts, text, at = [], rle["counts"], 0
    while at < len(text):
        value = shift = 0
        while True:
            char = ord(text[at]) - 48
            value |= (char & 31) << shift
            shift, at = shift + 5, at + 1
            if not char & 32:
                break
        if char & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    height, width = rle["size"]
    runs = np.arange(len(counts)) % 2
    return np.repeat(runs, counts).reshape(width, height).T.astype(bool)


def erode(mask, times):
    for _ in range(times):
        grown = np.pad(~mask, 1)
        mask = mask & ~(grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:])
    return mask


def main():
    source, to = Path(sys.argv[1]), Path(sys.argv[2])
    for part, folder in [("train", "training"), ("val", "validation")]:
        coco = json.loads((source / f"annotations/instances_{part}.json").read_text())
        objects = {}
        for found in coco["annotations"]:
            objects.setdefault(found["image_id"], []).append(found)
        for kind in ["images", "annotations"]:
            (to / kind / folder).mkdir(parents=True, exist_ok=True)
        for image in coco["images"]:
            labels = np.zeros((image["height"], image["width"]), np.uint8)
            width = max(1, round(min(labels.shape) / 128))
            for found in objects.get(image["id"], []):
                x, y, w, h = (int(v) for v in found["bbox"])
                part_of = np.s_[y : y + h, x : x + w]
                mask = decode(found["segmentation"])[part_of]
                labels[part_of][mask] = 2
                labels[part_of][erode(mask, width)] = 1
            name = image["file_name"]
            Image.fromarray(labels).save(to / "annotations" / folder / (Path(name).stem + ".png"), optimize=True)
            link = to / "images" / folder / name
            if not link.exists():
                os.link(source / part / name, link)
    (to / "classes.txt").write_text("ground\ninside\nborder\n")


main()
