"""Runs training jobs of a list on one device (DEVICE: its flags, the first GPU by default), several at a time, within a number of seconds; writes what they reached.

usage: run_jobs.py JOBS.json SECONDS WORKERS
A job is {"name", "kind", "command": [...], "limit"}, in order of priority. `kind` groups jobs that take about as long: none is
started that would not end in time by the median of its kind. A job that ended is not run again, so that a later call
goes on with the list. "choose": {"from": [[names...] for each candidate], "figure", "into": FILE, "texts": [...]} writes the text
of the candidate whose mean figure is highest to FILE; jobs with "after": FILE wait for it, and have $(FILE) replaced by its words."""
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

START = time.monotonic()
JOBS, SECONDS, WORKERS = json.load(open(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3])
DEVICE = os.environ.get("DEVICE", "--device cuda:0 --amp bf16 --threads 2").split()
LOCK = threading.Lock()
TIMES, RUNNING = {}, {}
os.makedirs("logs", exist_ok=True)


def left():
    return SECONDS - (time.monotonic() - START)


def last_figure(name, figure):
    """The last value of a figure in a run's metrics."""
    value = None
    try:
        for line in open(f"runs/{name}/metrics.jsonl"):
            value = json.loads(line).get(figure, value)
    except (OSError, ValueError):
        pass
    return value


def choose(job):
    """Writes the best candidate's text, unless an earlier call has."""
    rule, means = job["choose"], []
    if os.path.exists(rule["into"]):
        return
    for names in rule["from"]:
        values = [last_figure(name, rule["figure"]) for name in names]
        means.append(sum(v for v in values if v is not None) / len(values) if None not in values else -1)
    best = max(range(len(means)), key=means.__getitem__)
    with open(rule["into"], "w") as file:
        file.write(rule["texts"][best])
    print(f"chosen {rule['into']}: {rule['texts'][best]} of {means}", flush=True)


def ready(job, states):
    if "choose" in job:
        return all(states.get(n) in ("ended", "failed") for names in job["choose"]["from"] for n in names)
    return "after" not in job or os.path.exists(job["after"])


def take(states):
    """The next job to start; "wait" if one may become ready; None if there is no more."""
    waiting = False
    for job in JOBS:
        if states.get(job["name"]):
            continue
        if not ready(job, states):
            waiting = True
            continue
        known = TIMES.get(job["kind"], [])
        if left() < 1.15 * (statistics.median(known) if known else job.get("guess", 10)):
            continue
        states[job["name"]] = "running"
        return job
    return "wait" if waiting and left() > 5 else None


def run(job, states):
    name = job["name"]
    if "choose" in job:
        choose(job)
        states[name] = "ended"
        return
    command = []
    for word in job["command"]:
        command += open(word[2:-1]).read().split() if word.startswith("$(") else [word]
    if job.get("train", True):
        command += ["--output", f"runs/{name}", "--overwrite", *DEVICE]
    limit, begin = min(job.get("limit", 200), left() - 2), time.monotonic()
    os.makedirs(os.path.dirname(f"logs/{name}"), exist_ok=True)
    with open(f"logs/{name}.txt", "w") as log:
        log.write(" ".join(command) + "\n")
        log.flush()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        RUNNING[name] = process
        try:
            code = process.wait(max(limit, 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = "time"
    RUNNING.pop(name, None)
    took = time.monotonic() - begin
    with LOCK:
        states[name] = "ended" if code == 0 else "failed"
        if code == 0:
            TIMES.setdefault(job["kind"], []).append(took)
        with open("times.jsonl", "a") as file:
            file.write(json.dumps({"name": name, "kind": job["kind"], "code": code, "seconds": round(took, 2)}) + "\n")
    if code == 0 and not job.get("keep"):
        for checkpoint in ("best.safetensors", "last.safetensors"):
            try:
                os.remove(f"runs/{name}/{checkpoint}")
            except OSError:
                pass
    figures = [last_figure(name, key) for key in ("val/top1", "val/box_AP", "val/mask_AP", "val/mIoU")]
    print(f"{time.monotonic() - START:6.1f} s  {name:32s} code {code}  {took:6.1f} s  ", *[f"{v:.4f}" for v in figures if v is not None], flush=True)


def work(states):
    while True:
        with LOCK:
            job = take(states)
        if job is None:
            return
        if job == "wait":
            time.sleep(0.2)
            continue
        try:
            run(job, states)
        except Exception as error:  # one job must not stop the others
            print("job", job["name"], repr(error), flush=True)
            states[job["name"]] = "failed"


def main():
    states = {}
    if os.path.exists("times.jsonl"):
        for line in open("times.jsonl"):
            seen = json.loads(line)
            if seen["code"] == 0:
                states[seen["name"]] = "ended"
                TIMES.setdefault(seen["kind"], []).append(seen["seconds"])
    threads = [threading.Thread(target=work, args=(states,), daemon=True) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(max(left(), 0) + 3)
    for process in list(RUNNING.values()):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass
    done = {state: sum(s == state for s in states.values()) for state in set(states.values())}
    print(f"{time.monotonic() - START:.1f} s: {len(JOBS)} jobs, {done}", flush=True)


main()
