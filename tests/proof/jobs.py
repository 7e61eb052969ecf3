"""Writes the lists of jobs behind docs/results.md for run_jobs.py: a.json (sign digits, clothing, ablations, nuclei: all from nothing)
and b.json (what starts from the pre-trained ViT-S/14) for a GPU, c.json (transfer, why a KAT* segments worse than its ViT, ablations) for
a CPU with bfloat16 tiles. usage: jobs.py FOLDER"""
import json
import sys

A, B = [], []
QUIET = ["output.tensorboard=false", "data.workers=2"]


def job(into, name, kind, program, config, data, seed, sets=(), more=(), report=False, **other):
    words = [f"./{program}", "train", "--config", f"configs/{program}/{config}.toml", "--data", f"data/{data}", "--seed", str(seed), *more]
    for value in [*QUIET, *sets, *([] if report else ["output.report=false"])]:
        words += ["--set", value]
    into.append({"name": name, "kind": kind, "command": words, **other})


# ---- sign digits: which recipe, by the mean of KAT and its MLP twin with a seed that is not used again
CANDIDATES = [
    ["optimizer.lr=1.5e-3", "augment.randaugment=3"],
    ["optimizer.lr=3e-3", "augment.randaugment=3"],
    ["optimizer.lr=1.5e-3", "augment.randaugment=0"],
    ["optimizer.lr=1.5e-3", "model.image_size=96", "augment.randaugment=3"],
]
SIGN = ["model.image_size=64", "train.batch_size=48"]
for at, candidate in enumerate(CANDIDATES):
    for arm, config in [("kat", "scratch"), ("mlp", "scratch_mlp")]:
        job(A, f"scan/{at}_{arm}", "scan", "classify", config, "sign_digits", 7, [*SIGN, "train.epochs=60", *candidate])
A.append({
    "name": "scan/choice", "kind": "choice", "choose": {
        "from": [[f"scan/{at}_kat", f"scan/{at}_mlp"] for at in range(len(CANDIDATES))], "figure": "val/top1", "into": "sign.txt",
        "texts": [" ".join(f"--set {value}" for value in candidate) for candidate in CANDIDATES],
    },
})
RECIPE = ["$(sign.txt)"]
ARMS = [("kat", "scratch"), ("mlp", "scratch_mlp"), ("kan", "scratch_kan")]
for seed in range(5):
    for arm, config in ARMS:
        job(A, f"sign/{arm}_s{seed}", f"sign {arm}", "classify", config, "sign_digits", seed, [*SIGN, "train.epochs=150"], RECIPE,
            report=seed == 0, after="sign.txt", keep=seed == 0, guess=25)
    for arm, config in ARMS:
        job(A, f"clothing/{arm}_s{seed}", f"clothing {arm}", "classify", config, "clothing", seed,
            ["model.image_size=64", "train.batch_size=64", "train.epochs=30", "augment.hflip=0.5", "optimizer.lr=1.5e-3", "augment.randaugment=3"], report=seed == 0, guess=15)

# ---- ablations, shorter
ABLATIONS = {
    "gr_kan": ("scratch", []),
    "gelu": ("scratch_mlp", ["model.activation=gelu"]),
    "relu": ("scratch_mlp", ["model.activation=relu"]),
    "silu": ("scratch_mlp", ["model.activation=swish"]),
    "prelu": ("scratch_mlp", ["model.learnable_activation=prelu"]),
    "pau": ("scratch_mlp", ["model.learnable_activation=pau", "model.activation=leaky_relu"]),
    "identity_identity": ("scratch", ["model.act2=identity"]),
    "swish_swish": ("scratch", ["model.act1=swish"]),
    "identity_gelu": ("scratch", ["model.act2=gelu"]),
    "groups_1": ("scratch", ["model.groups=1"]),
    "groups_2": ("scratch", ["model.groups=2"]),
    "groups_4": ("scratch", ["model.groups=4"]),
    "groups_16": ("scratch", ["model.groups=16"]),
    "numerator_per_group": ("scratch", ["model.numerator=per_group"]),
    "denominator_paper": ("scratch", ["model.denominator=paper"]),
    "init_published": ("scratch", ["model.init=published"]),
}
REST = []
for seed in range(3):
    for name, (config, sets) in ABLATIONS.items():
        job(REST, f"ablation/{name}_s{seed}", "ablation", "classify", config, "sign_digits", seed,
            [*SIGN, "train.epochs=40", *sets], RECIPE, after="sign.txt")

# ---- transfer to clothing
START = ["model.init_from=weights/vit_small_patch14_dinov2.safetensors"]
KAT = ["model.mixer=gr_kan"]
# Clipped by the norm of all gradients, the coefficients' among them; the recipes leave those out.
JOINT = ["optimizer.clip_rationals=true"]
TRANSFER = {
    "vit": [],
    "kat": [*KAT, "train.clip_grad=0"],
    "kat_full_rate": [*KAT, *JOINT, "optimizer.rational_lr=1"],
    "vit_unclipped": ["train.clip_grad=0"],
    "kat_clipped": [*KAT, *JOINT],
    "kat_apart": KAT,
    "kat_full_rate_unclipped": [*KAT, "optimizer.rational_lr=1", "train.clip_grad=0"],
}
FIRST = list(TRANSFER)[:3]
# Patches of 16 pixels, made of the 14 of the file, at twice the size of most images.
START16 = [*START, "model.name=vit_small_patch14_dinov2", "model.patch=16",
           "model.image_size=512", "detect.pretrain_size=592", "model.freeze=0"]
DETECT = ["train.epochs=16", "train.batch_size=8", "train.eval_every=4", "eval.batch_size=8", "schedule.warmup_epochs=1"]
DETECTORS = {"vits": START16, "vits_kat": [*START16, *KAT, "train.clip_grad=0"]}
SEGMENTORS = {"vits": [], "vits_kat": [*KAT, "train.clip_grad=0"]}
SEGMENT = ["train.epochs=16", "train.batch_size=8", "train.eval_every=4", "schedule.warmup_epochs=1", "model.freeze=0"]
SMALL = {"small_vit": ["model.mixer=mlp"], "small_kat": []}
NUCLEI = []
for seed in range(3):
    for name, sets in SMALL.items():
        job(NUCLEI, f"nuclei/{name}_s{seed}", f"nuclei {name}", "detect", "scratch", "nuclei", seed, ["train.eval_every=4", *sets], report=seed == 0,
            guess=90, keep=seed == 0)
for seed in range(3):
    for name, sets in SMALL.items():
        job(NUCLEI, f"labels/{name}_s{seed}", f"labels {name}", "segment", "scratch", "nuclei_seg", seed, ["train.eval_every=4", *sets],
            report=seed == 0, guess=50)
for seed in range(3):
    for name in FIRST:
        job(B, f"transfer/{name}_s{seed}", "transfer", "classify", "finetune", "clothing", seed, [*START, *TRANSFER[name]], report=seed == 0, guess=12)
    for name, sets in DETECTORS.items():
        job(B, f"nuclei/{name}_s{seed}", f"nuclei {name}", "detect", "finetune", "nuclei", seed, [*DETECT, *sets], report=seed == 0, guess=70,
            keep=seed == 0)
    for name, sets in SEGMENTORS.items():
        job(B, f"labels/{name}_s{seed}", f"labels {name}", "segment", "finetune", "nuclei_seg", seed, [*SEGMENT, *START, *sets], report=seed == 0,
            guess=40)
for seed in range(3):
    for name in list(TRANSFER)[3:]:
        job(B, f"transfer/{name}_s{seed}", "transfer", "classify", "finetune", "clothing", seed, [*START, *TRANSFER[name]], guess=12)
# ---- on a CPU, hours rather than minutes: no limit by the length of a call
C = []
# Four epochs rather than sixteen, to find out what holds a KAT* back.
SEGMENT_SHORT = ["train.epochs=4", "train.batch_size=8", "train.eval_every=2", "schedule.warmup_epochs=0.5", "model.freeze=0"]
WHY = {
    "vit": [],
    "vit_unclipped": ["train.clip_grad=0"],
    "kat": [*KAT, "train.clip_grad=0"],
    "kat_clipped": [*KAT, *JOINT],
    "kat_apart": KAT,
}


def why(seed):
    for name, sets in WHY.items():
        job(C, f"why/{name}_s{seed}", "why", "segment", "finetune", "nuclei_seg", seed, [*SEGMENT_SHORT, *START, *sets], limit=3600, guess=600)


why(0)
# The run of the table that a clip without the coefficients repairs.
job(C, "labels/kat_apart_s0", "labels", "segment", "finetune", "nuclei_seg", 0, [*SEGMENT, *START, *KAT], report=True, limit=7200, guess=3600)
for seed in range(3):
    for name, (config, sets) in ABLATIONS.items():
        job(C, f"ablation/{name}_s{seed}", "ablation", "classify", config, "sign_digits", seed, [*SIGN, "train.epochs=40", *sets], limit=3600, guess=120)
for seed in range(3):
    for name, sets in TRANSFER.items():
        job(C, f"transfer/{name}_s{seed}", "transfer", "classify", "finetune", "clothing", seed, [*START, *sets], limit=3600, guess=240)
why(1)
why(2)
json.dump(C, open(sys.argv[1] + "/c.json", "w"), indent=0)
json.dump(A + NUCLEI + REST, open(sys.argv[1] + "/a.json", "w"), indent=0)
json.dump(B + A + NUCLEI + REST, open(sys.argv[1] + "/b.json", "w"), indent=0)
