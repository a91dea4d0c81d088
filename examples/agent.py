#!/usr/bin/env python3
"""A small agent in Python: it says that it is ready, and counts the words of its tasks until it is told to stop.

Muster speaks to an agent in JSON objects, one a line, over stdin and stdout. Any other line that an agent prints is its
log: `muster logs AGENT` shows it. Stdout must not be buffered, or Muster waits in vain for {"type": "ready"}.
"""

import json
import os
import sys
import threading


def put(line):
    # In one piece, since the threads of two tasks may speak at once.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say(kind, **words):
    put(json.dumps({"type": kind, **words}))


def count(task, cancelled):
    """The work of one task: its output, or None where it was cancelled."""
    if not isinstance(task["input"], str):
        raise ValueError("the input is no text")
    words = task["input"].split()
    for number, _ in enumerate(words, 1):
        # The place for real work. It looks up now and then, so that a cancel is heard.
        if cancelled.wait(0.02):
            return None
        say("progress", id=task["id"], message=f"word {number}", percent=100 * number / len(words))
    # Where a model was asked: what that took. It is summed up, and budgets look at it.
    say("usage", id=task["id"], input_tokens=len(words))
    return {"words": len(words)}


def work(task, cancelled):
    """Does one task, and ends it with exactly one result or error."""
    try:
        output = count(task, cancelled)
        if output is None:
            say("error", id=task["id"], message="cancelled")
        else:
            say("result", id=task["id"], output=output)
    except ValueError as error:
        # Another attempt would end in the same.
        say("error", id=task["id"], message=str(error), retryable=False)
    except Exception as error:
        say("error", id=task["id"], message=repr(error))


def main():
    agent, pool = os.environ.get("MUSTER_AGENT_ID", "?"), os.environ.get("MUSTER_POOL", "?")
    put(f"agent {agent} of {pool} starts")
    # The place to load models and to open connections: Muster waits for the next line.
    say("ready")
    cancels = {}
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "task":
            cancels[message["id"]] = cancelled = threading.Event()
            # A thread, so that a cancel or a stop is read in the middle of the work.
            threading.Thread(target=work, args=(message, cancelled), daemon=True).start()
        elif kind == "cancel":
            # It may come when the task is over.
            cancels.get(message["id"], threading.Event()).set()
        elif kind == "stop":
            # Nothing is said of what is not done: it runs again elsewhere, and that costs no attempt.
            put("told to stop")
            return
        else:
            # A newer Muster may say more than this agent knows.
            print(f"no answer to a message of type {kind!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
