"""Writes jpeg_layouts.bin: small JPEGs of every layout of scans and sampling, each with the hash of Pillow's pixels.

Run as `python make_jpeg_layouts.py` with Pillow and numpy; cjpeg of libjpeg-turbo must be on PATH. Each record is the
length of the name, the name, the length of the file, the file (lengths of 4 bytes, little-endian) and 8 bytes of FNV-1a
over Pillow's convert("RGB").tobytes().
"""

import io
import itertools
import os
import struct
import subprocess
import tempfile

import numpy
from PIL import Image


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value


def image(width, height, seed):
    rng = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:height, :width]
    noise = rng.integers(0, 50, (height, width))
    planes = [x * 5 + noise, y * 5 + noise // 2, x * 3 + y * 2 + noise]
    return Image.fromarray(numpy.stack(planes, -1).clip(0, 255).astype("uint8"))


def cjpeg(picture, *args, scans=None):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "a.ppm")
        picture.save(source)
        if scans:
            script = os.path.join(folder, "scans")
            with open(script, "w") as file:
                file.write(scans)
            args = [*args, "-scans", script]
        return subprocess.run(["cjpeg", *args, source], check=True, capture_output=True).stdout


SCANS = {
    "one": None,
    "each": "0; 1; 2;",
    "chroma_together": "0; 1 2;",
    "luma_last": "2; 0 1;",
    "spectral": "0 1 2: 0-0, 0, 0; 0: 1-63, 0, 0; 1: 1-5, 0, 0; 1: 6-63, 0, 0; 2: 1-63, 0, 0;",
    "progressive": "0 1 2: 0-0, 0, 1; 0: 1-5, 0, 2; 2: 1-63, 0, 1; 1: 1-63, 0, 1; 0: 6-63, 0, 2;"
    " 0: 1-63, 2, 1; 0 1 2: 0-0, 1, 0; 2: 1-63, 1, 0; 1: 1-63, 1, 0; 0: 1-63, 1, 0;",
    "progressive_each": "0: 0-0, 0, 2; 1: 0-0, 0, 0; 2: 0-0, 0, 1; 0: 0-0, 2, 1; 0: 0-0, 1, 0; 2: 0-0, 1, 0;"
    " 0: 1-63, 0, 3; 0: 1-63, 3, 2; 0: 1-63, 2, 1; 0: 1-63, 1, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 2; 2: 1-63, 2, 1;"
    " 2: 1-63, 1, 0;",
}
SAMPLINGS = ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "3x1", "2x1,1x1,2x1", "2x2,2x1,1x2", "2x2,1x2,1x1",
             "1x1,2x2,1x1", "4x2,2x2,1x1"]


def files():
    for (scans, script), sampling in itertools.product(SCANS.items(), SAMPLINGS):
        blocks = sum(int(f[0]) * int(f[2]) for f in (sampling.split(",") + ["1x1", "1x1"])[:3])
        together = "0 1 2" in (script or "0 1 2")
        if together and blocks > 10:
            continue  # an MCU holds ten blocks at most
        for seed, (width, height, more) in enumerate([(35, 29, []), (9, 50, ["-restart", "1"])]):
            try:
                data = cjpeg(image(width, height, seed), "-quality", "80", "-sample", sampling, *more, scans=script)
            except subprocess.CalledProcessError:
                continue  # a layout that libjpeg does not write
            yield f"{scans} {sampling} {width}x{height}", data
    for width, height in [(1, 1), (2, 3), (3, 2), (4, 40), (5, 5), (16, 16), (17, 1), (33, 8)]:
        for sampling in ["2x1", "1x2", "2x2"]:
            for scans in ["one", "each", "progressive"]:
                data = cjpeg(image(width, height, 3), "-sample", sampling, scans=SCANS[scans])
                yield f"small {scans} {sampling} {width}x{height}", data
    for restart in ["1B", "3B", "2"]:
        for scans in ["one", "each", "progressive"]:
            data = cjpeg(image(40, 33, 5), "-sample", "2x2", "-restart", restart, scans=SCANS[scans])
            yield f"restart {restart} {scans}", data
    for scans in ["one", "each", "progressive"]:
        data = cjpeg(image(21, 22, 6), "-rgb", "-sample", "1x1", scans=SCANS[scans])
        yield f"rgb {scans}", data
    picture = image(37, 26, 7)
    for mode, progressive, sampling in itertools.product(["L", "CMYK"], [False, True], [0, 2]):
        out = io.BytesIO()
        picture.convert(mode).save(out, "JPEG", quality=85, progressive=progressive, subsampling=sampling)
        yield f"{mode} {progressive} {sampling}", out.getvalue()
    # Adobe's YCCK: the same numbers under another name
    for progressive, sampling in itertools.product([False, True], [0, 2]):
        out = io.BytesIO()
        picture.convert("CMYK").save(out, "JPEG", quality=85, progressive=progressive, subsampling=sampling)
        data = bytearray(out.getvalue())
        at = data.index(b"Adobe")
        data[at + 11] = 2
        yield f"YCCK {progressive} {sampling}", bytes(data)
    # quantisers of 16 bits
    yield "coarse", cjpeg(image(40, 30, 8), "-quality", "2")


def main():
    out, count = bytearray(), 0
    for name, data in files():
        pixels = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
        name = name.encode()
        out += struct.pack("<I", len(name)) + name + struct.pack("<I", len(data)) + data
        out += struct.pack("<Q", fnv(pixels))
        count += 1
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "jpeg_layouts.bin"), "wb") as file:
        file.write(out)
    print(count, "files,", len(out), "bytes")


main()
