"""Markdown tables of run folders: mean and standard deviation over seeds of the value after the last step, and differences
paired by seed with their 95 % confidence interval (Student's t).

usage: table.py FIGURE RUNS/NAME_s… ; groups are what stands before _s and the seed, differences are to the first group"""
import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]
figure, groups = sys.argv[1], {}
for folder in map(Path, sys.argv[2:]):
    name, seed = re.fullmatch(r"(.*)_s(\d+)", folder.name).groups()
    values = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    values = [v[figure] * (1 if "loss" in figure else 100) for v in values if figure in v]
    seconds = sum(json.loads(line)["seconds"] for line in (folder / "sessions.jsonl").open())
    complete = [json.loads(line)["complete"] for line in (folder / "sessions.jsonl").open()][-1]
    if complete:
        groups.setdefault(name, {})[int(seed)] = (values[-1], (min if "loss" in figure else max)(values), seconds)
first = next(iter(groups.values()))
print(f"| | seeds | {figure}, last | best | less {next(iter(groups))} (95 %) | s a run |\n|---|---|---|---|---|---|")
spread = lambda v: f"{mean(v):.2f}" + (f" ± {stdev(v):.2f}" if len(v) > 1 else "")
for name, runs in groups.items():
    last, best, seconds = zip(*runs.values())
    both = sorted(set(first) & set(runs))
    pairs = [runs[s][0] - first[s][0] for s in both]
    difference = "" if runs is first or not pairs else f"{mean(pairs):+.2f}"
    if difference and len(pairs) > 1:
        difference += f" ± {T95[len(pairs) - 2] * stdev(pairs) / len(pairs) ** 0.5:.2f}"
    if difference and len(pairs) < len(runs):
        difference += f" ({len(pairs)} seeds)"
    each = ", ".join(f"{v:.1f}" for v in last)
    print(f"| {name} | {len(runs)}: {each} | {spread(last)} | {spread(best)} | {difference} | {mean(seconds):.0f} |")
