"""No-op tasks with Celery on the Redis at the socket PEER_SOCKET, by two processes, results kept in the same Redis. Prints
JSON: tasks a second from the first submit to the last result, and the latency of one in ms."""

import json
import os
import subprocess
import sys
import time

import redis
from celery import Celery

SOCKET = os.environ["PEER_SOCKET"]
URL = "redis+socket://" + SOCKET
app = Celery("celery_peer", broker=URL, backend=URL)
app.conf.update(worker_prefetch_multiplier=64, result_expires=600)


@app.task(name="no_op")
def no_op(n):
    return n


def main(count):
    client = redis.Redis(unix_socket_path=SOCKET)
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-c", "2", "-P", "prefork", "-l", "ERROR"]
    workers = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        no_op.delay(0).get(timeout=60)
        begun = time.perf_counter()
        for n in range(count):
            no_op.delay(n)
        while sum(1 for _ in client.scan_iter("celery-task-meta-*", count=1000)) < count:
            time.sleep(0.01)
        end_to_end = count / (time.perf_counter() - begun)
        times = []
        for _ in range(min(count, 200)):
            begun = time.perf_counter()
            no_op.delay(1).get(timeout=30, interval=0.0005)
            times.append((time.perf_counter() - begun) * 1e3)
    finally:
        workers.terminate()
        workers.wait()
    times.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(json.dumps({"end_to_end": end_to_end, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
