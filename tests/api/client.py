"""Uses the generated client of Python against a running server, and its streams with httpx-sse."""

import sys
import threading
import time

import httpx
from httpx_sse import connect_sse
from muster_client import Client
from muster_client.api.agents import agents_list, agents_spawn, agents_terminate
from muster_client.api.pools import pools_get
from muster_client.api.tasks import tasks_get, tasks_list, tasks_submit, tasks_submit_many
from muster_client.models import SpawnBody, TaskBody, TerminateBody

URL = sys.argv[1]
POOL = "developer_pool"


def work(client):
    agent = agents_spawn.sync(client=client, body=SpawnBody(project_id="shop", role_type="developer", pool_name=POOL), wait=30)
    assert agent.state == "idle", agent
    assert [one.agent_id for one in agents_list.sync(client=client, pool_name=POOL).items] == [agent.agent_id]
    task = tasks_submit.sync(client=client, body=TaskBody(pool_name=POOL, input_={"a": [1, None]}), wait=30)
    assert task.state == "succeeded" and task.attempts, task
    assert tasks_get.sync(client=client, task_id=task.task_id).output is not None
    lines = tasks_submit_many.sync(client=client, body=TaskBody(pool_name=POOL, input_=1))
    assert lines.accepted == 1 and lines.items[0].task_id, lines
    assert len(tasks_list.sync(client=client, full=True, limit=100).items) == 2
    refused = tasks_submit.sync(client=client, body=TaskBody(pool_name="none", input_=1))
    assert refused.code == "unknown_pool", refused
    pool = pools_get.sync(client=client, pool_name=POOL)
    assert pool.breaker.state == "closed" and pool.config.breaker.window > 0, pool
    ended = agents_terminate.sync(client=client, body=TerminateBody(agent_id=agent.agent_id), wait=30)
    assert ended is not None
    return task.task_id


def streams(task_id):
    """Nothing that a client is given is empty, also after more than one time of silence."""
    with httpx.Client(timeout=60) as plain:
        with connect_sse(plain, "GET", f"{URL}/api/v1/tasks/{task_id}/events") as source:
            events = list(source.iter_sse())
            assert events[-1].event == "succeeded" and all(event.data for event in events), events
        # A keep-alive comes after 15 s, and an event after that.
        until = time.monotonic() + 16
        threading.Timer(17, lambda: plain.post(f"{URL}/api/v1/agents/pools/{POOL}/pause")).start()
        with connect_sse(plain, "GET", f"{URL}/api/v1/events", headers={"Last-Event-ID": "0"}) as source:
            for event in source.iter_sse():
                assert event.data, f"an empty event after {event.id}"
                if time.monotonic() > until:
                    break
        plain.post(f"{URL}/api/v1/agents/pools/{POOL}/resume").raise_for_status()


streams(work(Client(base_url=URL, raise_on_unexpected_status=True)))
print("the client of Python works")
