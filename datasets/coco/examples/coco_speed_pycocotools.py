"""The peer of coco_speed.rs: pycocotools on the files that it left in FOLDER.

    python datasets/examples/coco_speed_pycocotools.py FOLDER

Needs pycocotools. Prints, for boxes and for masks, seconds to read both files, seconds to evaluate, and the figures.
"""
import contextlib
import io
import json
import sys
import time

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

folder = sys.argv[1]
for iou_type in ("bbox", "segm"):
    # its own lines would stand between ours
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        truth = COCO(f"{folder}/gt.json")
        found = truth.loadRes(f"{folder}/dt.json")
        read = time.perf_counter()
        evaluation = COCOeval(truth, found, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        end = time.perf_counter()
    print(json.dumps({
        "iou_type": iou_type,
        "read_seconds": read - start,
        "evaluate_seconds": end - read,
        "stats": list(evaluation.stats),
    }))
