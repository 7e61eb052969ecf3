"""Runs an ONNX file on stored inputs: run_onnx.py MODEL.onnx INPUTS.safetensors OUTPUTS.safetensors

Needs onnxruntime and numpy alone; safetensors' layout is a length, JSON and bytes.
"""

import json
import struct
import sys

import numpy as np
import onnxruntime

TYPES = {"F32": np.float32, "U8": np.uint8, "I64": np.int64}


def read(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + start : 8 + length + end], TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def write(path, tensors):
    header, body = {}, b""
    for name, values in tensors.items():
        # whole numbers as f32 too: labels are small
        raw = np.ascontiguousarray(values, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + body)


def main(model, inputs, outputs):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = read(inputs)
    feed = {}
    for wanted in session.get_inputs():
        values = given[wanted.name]
        feed[wanted.name] = values.astype(np.uint8) if wanted.type == "tensor(uint8)" else values
    names = [output.name for output in session.get_outputs()]
    write(outputs, dict(zip(names, session.run(names, feed))))


if __name__ == "__main__":
    main(*sys.argv[1:])
