"""What python3 leans on: subprocess, multiprocessing, threads, signals, sockets, select, mmap."""

import concurrent.futures
import mmap
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading


def square(n):
    return n * n


def main():
    print("run", subprocess.run(["sh", "-c", "cat; exit 7"], input=b"given", capture_output=True))
    print("missing", end=" ")
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError as problem:
        print(problem.errno)
    print("killed", subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
    with subprocess.Popen(["sort"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        print("sorted", child.communicate(b"b\na\nc\n")[0])
    try:
        subprocess.run(["sleep", "10"], timeout=0.1)
    except subprocess.TimeoutExpired:
        print("timed out")
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(square, range(5)))
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=queue.put, args=([1, 2, 3],))
    child.start()
    print("queue", queue.get())
    child.join()
    value = multiprocessing.Value("i", 0)

    def add():
        for _ in range(1000):
            with value.get_lock():
                value.value += 1

    workers = [multiprocessing.Process(target=add) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("shared value", value.value)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        print("threads", sum(executor.map(square, range(1000))))
    caught = []
    signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    print("signal", caught)
    signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    print("timer", caught)
    a, b = socket.socketpair()
    a.sendall(b"hello")
    print("socket", b.recv(10))
    reader, writer = os.pipe()
    print("select", select.select([reader], [writer], [], 0)[1] == [writer])
    poller = select.epoll()
    poller.register(reader, select.EPOLLIN)
    threading.Timer(0.05, os.write, (writer, b"x")).start()
    print("epoll", [events for _, events in poller.poll(5)])
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 1000)
        file.flush()
        with mmap.mmap(file.fileno(), 0) as view:
            view[5] = ord("X")
            print("mmap", view[:10], len(view))
        file.seek(0)
        print("file", file.read(10))
    server = socket.socket(socket.AF_UNIX)
    server.bind("sock")
    server.listen()

    def serve():
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(100000):
                connection.sendall(data[::-1])

    threading.Thread(target=serve).start()
    client = socket.socket(socket.AF_UNIX)
    client.connect("sock")
    total = 0
    for size in (1, 1000, 100000):
        client.sendall(b"q" * size)
        left = size
        while left:
            left -= len(client.recv(left))
        total += size
    client.close()
    print("served", total)
    print("environment", subprocess.run(["env"], env={"A": "b"}, capture_output=True).stdout)
    print("cwd", subprocess.run(["pwd"], cwd="/usr", capture_output=True).stdout)
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print("spawn", os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {}), 0)[1]))
    print("large", len(subprocess.run(["head", "-c", "3000000", "/dev/zero"], capture_output=True).stdout))


if __name__ == "__main__":
    main()
