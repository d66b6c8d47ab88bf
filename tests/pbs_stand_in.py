#!/usr/bin/env python3
"""A stand-in for PBS on one machine: qsub, qstat, qselect and qdel, by the name it is called by.

It follows the documented behaviour of PBS Professional and OpenPBS where `kanbench submit` looks:
ids as 1.here and 1[].here, arrays of two elements or more, qstat's JSON with and without history and
subjobs, job states Q R B X F, Exit_status (-29 for the walltime, 271 for qdel), exit status 153 for an
unknown job and 35 for one that is only history. PBS_STAND_IN names its directory, PBS_STAND_IN_MINUTE
the seconds that a minute of walltime lasts, PBS_STAND_IN_DOWN makes every command fail.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["PBS_STAND_IN"])
MINUTE = float(os.environ.get("PBS_STAND_IN_MINUTE", "60"))
AT_ONCE = 4
KILL_DELAY = 3


def write(path, text):
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.rename(path)


def fail(status, text):
    sys.stderr.write(text + "\n")
    sys.exit(status)


def path_of(number):
    return HOME / f"{number}.json"


def load(number):
    return json.loads(path_of(number).read_text())


def save(job):
    write(path_of(job["number"]), json.dumps(job))


def directives(script):
    found = {"-l": []}
    for line in script.read_text().splitlines():
        if not line.startswith("#PBS "):
            continue
        flag, _, value = line[5:].partition(" ")
        if flag == "-l":
            found["-l"].append(value)
        else:
            found[flag] = value
    return found


def seconds(walltime):
    hours, minutes, rest = (int(part) for part in walltime.split(":"))
    return ((hours * 60 + minutes) + rest / 60) * MINUTE


def qsub(words):
    script = Path(words[-1]).resolve()
    asked = directives(script)
    wanted = dict(value.split("=", 1) for value in asked["-l"])
    for needed in ("select", "walltime"):
        if needed not in wanted:
            fail(1, f"qsub: Job violates queue and/or server resource limits: no {needed}")
    if "-q" not in asked:
        fail(1, "qsub: No default queue specified")
    if asked["-q"] == "closed":
        fail(188, "qsub: Queue is not enabled")
    elements = [None]
    if "-J" in asked:
        first, last = (int(part) for part in asked["-J"].split("-"))
        if last <= first:
            fail(1, "qsub: illegal -J value")
        elements = list(range(first, last + 1))
    number = 1 + sum(1 for _ in HOME.glob("*.json"))
    job = {
        "number": number,
        "name": asked["-N"],
        "queue": asked["-q"],
        "asked": wanted,
        "output": asked.get("-o", "job.log"),
        "directory": os.getcwd(),
        "array": "-J" in asked,
        "elements": [{"index": index, "state": "Q"} for index in elements],
    }
    (HOME / f"{number}.sh").write_text(script.read_text())
    save(job)
    if os.fork() == 0:
        os.setsid()
        quiet = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(quiet, descriptor)
        serve(job)
        os._exit(0)
    print(identity(job))


def identity(job, index=None):
    inner = "" if index is None else str(index)
    return f"{job['number']}[{inner}].here" if job["array"] else f"{job['number']}.here"


def begin(job, element):
    index = element["index"]
    environment = dict(os.environ, PBS_JOBID=identity(job, index), PBS_O_WORKDIR=job["directory"])
    log = job["output"]
    if index is not None:
        environment["PBS_ARRAY_INDEX"] = str(index)
        log = log.replace("^array_index^", str(index))
    with open(Path(job["directory"]) / log, "w") as out:
        return subprocess.Popen(["/bin/bash", str(HOME / f"{job['number']}.sh")], cwd="/", stdout=out,
                                stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def end(process, sign):
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        pass


def kill(process):
    end(process, signal.SIGTERM)
    try:
        process.wait(KILL_DELAY)
    except subprocess.TimeoutExpired:
        pass
    end(process, signal.SIGKILL)
    process.wait()


def serve(job):
    """Runs the elements, a few at a time, each for its walltime at most."""
    limit = seconds(job["asked"]["walltime"])
    waiting, running = list(job["elements"]), []
    while waiting or running:
        deleted = (HOME / f"{job['number']}.deleted").exists()
        if deleted:
            for element in waiting:
                element.update(state="X", status=271)
            waiting = []
        while waiting and len(running) < AT_ONCE:
            element = waiting.pop(0)
            element["state"] = "R"
            running.append((element, begin(job, element), time.monotonic()))
        for entry in list(running):
            element, process, since = entry
            status = process.poll()
            if status is None and deleted:
                kill(process)
                status = 271
            elif status is None and time.monotonic() - since > limit:
                kill(process)
                status = -29
            if status is None:
                continue
            end(process, signal.SIGKILL)
            element.update(state="X", status=status if status >= -29 else 256 - status)
            running.remove(entry)
        save(job)
        time.sleep(0.02)


def describe(job, element=None):
    told = {"Job_Name": job["name"], "queue": job["queue"], "server": "here",
            "Resource_List": job["asked"]}
    states = {one["state"] for one in job["elements"]}
    if element is None and job["array"]:
        told["job_state"] = "F" if states == {"X"} else "Q" if states == {"Q"} else "B"
        told["array"] = "True"
        return told
    element = element or job["elements"][0]
    told["job_state"] = element["state"]
    if not job["array"] and element["state"] == "X":
        told["job_state"] = "F"
    if "status" in element:
        told["Exit_status"] = element["status"]
    return told


def qstat(words):
    history, subjobs = "-x" in words, "-t" in words
    if words[words.index("-F") + 1] != "json" or "-f" not in words:
        fail(2, "usage: qstat [-x] [-t] -f -F json ID...")
    if history and os.environ.get("PBS_STAND_IN_NO_HISTORY"):
        fail(1, "qstat: PBS server is not configured for job history")
    jobs, status = {}, 0
    for word in words:
        match = re.match(r"^(\d+)(\[\])?\.here$", word)
        if not match:
            continue
        if not path_of(match[1]).exists():
            sys.stderr.write(f"qstat: Unknown Job Id {word}\n")
            status = 153
            continue
        job = load(match[1])
        told = describe(job)
        if told["job_state"] == "F" and not history:
            sys.stderr.write(f"qstat: {word} Job has finished, use -x or -H to obtain history\n")
            status = 35
            continue
        jobs[identity(job)] = told
        if subjobs and job["array"]:
            for element in job["elements"]:
                jobs[identity(job, element["index"])] = describe(job, element)
    print(json.dumps({"timestamp": 0, "pbs_version": "stand-in", "pbs_server": "here", "Jobs": jobs},
                     indent=4))
    sys.exit(status)


def qselect(words):
    name = words[words.index("-N") + 1]
    for path in sorted(HOME.glob("*.json")):
        job = json.loads(path.read_text())
        if job["name"] == name and ("-x" in words or describe(job)["job_state"] != "F"):
            print(identity(job))


def qdel(words):
    for word in words:
        (HOME / f"{re.match(r'[0-9]+', word)[0]}.deleted").touch()


if os.environ.get("PBS_STAND_IN_DOWN"):
    fail(111, "cannot connect to server here, errno=111")
{"qsub": qsub, "qstat": qstat, "qselect": qselect, "qdel": qdel}[Path(sys.argv[0]).name](sys.argv[1:])
