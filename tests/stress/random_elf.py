"""Executes truncated and damaged ELF files. Usage: random_elf.py SEED COUNT; run in an empty directory, in a guest."""

import os
import random
import resource
import subprocess
import sys


def main():
    random.seed(int(sys.argv[1]))
    with open("/bin/true", "rb") as file:
        good = file.read()
    counts = {}
    for number in range(int(sys.argv[2])):
        data = bytearray(good)
        kind = number % 4
        if kind == 0:
            data = data[:random.randrange(len(data))]
        elif kind == 1:
            for _ in range(random.randrange(1, 8)):
                data[random.randrange(64)] = random.randrange(256)
        elif kind == 2:
            for _ in range(random.randrange(1, 30)):
                data[random.randrange(64, 64 + 13 * 56)] = random.choice((0, 1, 0x7F, 0xFF, random.randrange(256)))
        else:
            data = data[:64] + bytearray(random.randbytes(random.randrange(5000)))
        name = f"./elf{number}"
        with open(name, "wb") as file:
            file.write(data)
        os.chmod(name, 0o755)

        def limits():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        try:
            status = subprocess.run([name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limits, timeout=5).returncode
        except OSError as problem:
            status = f"errno {problem.errno}"
        except subprocess.TimeoutExpired:
            status = "timeout"
        counts[status] = counts.get(status, 0) + 1
        os.unlink(name)
    print(sorted(counts.items(), key=str), file=sys.stderr)
    print("done")


if __name__ == "__main__":
    main()
