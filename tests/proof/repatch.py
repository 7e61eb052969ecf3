"""A ViT's patch projection for patches of another size, as FlexiViT resizes it (arXiv 2212.08013): the kernel that gives on a
patch that was enlarged bilinearly what the file's gives on the patch itself. usage: repatch.py FROM TO SIDE; needs PyTorch"""
import json
import struct
import sys

import torch

source, to, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = open(source, "rb").read()
length = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
name = "patch_embed.proj.weight"
entry = header[name]
kinds = {"F32": torch.float32, "F16": torch.float16}
begin, end = entry["data_offsets"]
kernel = torch.frombuffer(bytearray(body[begin:end]), dtype=kinds[entry["dtype"]]).reshape(entry["shape"]).double()
old = kernel.shape[-1]
line = torch.zeros(side, old, dtype=torch.float64)
for row in range(side):
    at = min(max((row + 0.5) * old / side - 0.5, 0.0), old - 1.0)
    first = int(at)
    line[row, first] += 1 - (at - first)
    line[row, min(first + 1, old - 1)] += at - first
enlarge = torch.kron(line, line)
fitted = kernel.reshape(-1, old * old) @ torch.linalg.pinv(enlarge)
patch = torch.rand(old * old, dtype=torch.float64)
error = (fitted @ (enlarge @ patch) - kernel.reshape(-1, old * old) @ patch).abs().max()
print(f"{name}: {old} to {side} pixels, largest difference on a random patch {error:.1e}")
out, parts, at = {}, [], 0
for key, value in header.items():
    if key == "__metadata__":
        out[key] = value
        continue
    if key == name:
        part = fitted.reshape(*kernel.shape[:2], side, side).to(kinds[entry["dtype"]]).contiguous()
        part = bytes(part.flatten().view(torch.uint8).tolist())
        value = {**value, "shape": [*kernel.shape[:2], side, side]}
    else:
        part = body[value["data_offsets"][0] : value["data_offsets"][1]]
    out[key] = {**value, "data_offsets": [at, at + len(part)]}
    parts.append(part)
    at += len(part)
text = json.dumps(out).encode()
text += b" " * (-len(text) % 8)
open(to, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(parts))
