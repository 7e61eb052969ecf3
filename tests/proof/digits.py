"""Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels as class folders: the first 1,500 for training, 297 held out.

usage: digits.py FOLDER; needs scikit-learn and Pillow"""
import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
for index, (pixels, label) in enumerate(zip(digits.images, digits.target)):
    folder = Path(sys.argv[1]) / ("train" if index < 1500 else "val") / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).astype("uint8")).save(folder / f"{index:04}.png")
