"""No-op tasks with Dramatiq on the Redis at the socket PEER_SOCKET, by two processes of eight threads. Prints JSON: tasks a
second from the first submit to the last end, tasks a second of a queue that waits, and the latency of one in ms."""

import json
import os
import subprocess
import sys
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

client = redis.Redis(unix_socket_path=os.environ["PEER_SOCKET"])
dramatiq.set_broker(RedisBroker(client=client))


@dramatiq.actor
def no_op(n):
    if n < 0:
        client.rpush("peer:done", n)


def waiting():
    return client.hlen("dramatiq:default.msgs")


def wait_done():
    while waiting() > 0:
        time.sleep(0.002)


def start_workers():
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-m", "dramatiq", "dramatiq_peer", "--processes", "2", "--threads", "8"]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def round_trip():
    begun = time.perf_counter()
    no_op.send(-1)
    client.blpop("peer:done", 30)
    return (time.perf_counter() - begun) * 1e3


def main(count):
    workers = start_workers()
    try:
        round_trip()
        begun = time.perf_counter()
        for n in range(count):
            no_op.send(n)
        wait_done()
        end_to_end = count / (time.perf_counter() - begun)
        times = sorted(round_trip() for _ in range(min(count, 200)))
    finally:
        workers.terminate()
        workers.wait()
    for n in range(count):
        no_op.send(n)
    workers = start_workers()
    try:
        while waiting() == count:
            time.sleep(0.001)
        begun = time.perf_counter()
        wait_done()
        drain = count / (time.perf_counter() - begun)
    finally:
        workers.terminate()
        workers.wait()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(json.dumps({"end_to_end": end_to_end, "drain": drain, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
