"""Real programs: each script of this folder runs natively and in the guest, in an empty directory; output and status must be equal."""

import os
import tempfile

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
LONG = {"python_modules.sh"}


def in_fresh_directory(runner):
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        outcome = runner(folder)
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
        return outcome


def run_all(report, wanted, long):
    for name in sorted(os.listdir(HERE)):
        title = "software/" + name
        if not name.endswith(".sh") or not wanted(title) or (name in LONG and not long):
            continue
        command = ["/bin/sh", os.path.join(HERE, name)]
        environment = dict(os.environ, LC_ALL="C", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        native = in_fresh_directory(lambda folder: harness.run(command, cwd=folder, limit=300, env=environment))
        switches = ["--env", "LC_ALL=C", "--env", "PATH=" + environment["PATH"]]
        guest = in_fresh_directory(lambda folder: harness.run_guest(command, workdir=folder, limit=300, switches=switches))
        problems = []
        if native.status != 0 or native.timed_out:
            problems.append(f"natively it ends with {native.status}")
            problems += harness.tail(native.output + native.error)
        if guest.timed_out:
            problems.append(f"stopped at its time limit after {guest.seconds:.0f} s")
        if guest.status != native.status:
            problems.append(f"exit status {guest.status}, natively {native.status}")
            problems += harness.tail(guest.error)
        if guest.output != native.output:
            split = [outcome.output.decode(errors="backslashreplace").splitlines() for outcome in (native, guest)]
            problems.append("output differs\n" + harness.differences(*split))
        if guest.leftovers:
            problems.append("left behind: " + ", ".join(guest.leftovers))
        report.add(f"{title} (native {native.seconds:.1f} s)", problems, seconds=guest.seconds)
