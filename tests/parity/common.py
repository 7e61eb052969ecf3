"""What the parity scripts share: seeded weights that are all at work, and the files that a test reads."""

import json
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent / "golden" / "parity"


def stir(model, seed=0):
    """Gives every parameter a value that shows in the output: norms and scales near 1, the rest near 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 and name.endswith("weight") or "gamma" in name or "lambda1" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.3 * noise)
            else:
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                parameter.copy_(noise * (1.5 / fan_in**0.5 if parameter.ndim != 3 else 0.5))
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
            elif name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
    return model.eval()


def image(height, width, batch=2, seed=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def expect(folder, note="", **tensors):
    """Writes what the peer computed, in double precision where it was, beside its own file of weights."""
    plain = lambda value: value if value.dtype == torch.uint8 else value.detach().to(torch.float32)
    tensors = {name: plain(value).contiguous() for name, value in tensors.items()}
    save_file(tensors, str(folder / "expected.safetensors"), metadata={"note": note})


def folder(name):
    path = ROOT / name
    path.mkdir(parents=True, exist_ok=True)
    for file in path.iterdir():
        file.unlink()
    return path


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")
