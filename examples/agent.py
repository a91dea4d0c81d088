#!/usr/bin/env python3
"""The smallest agent in Python: it says that it is ready, and runs until it is told to stop.

Muster speaks to an agent in JSON objects, one a line, over stdin and stdout. Any other line that an agent prints is its
log: `muster logs AGENT` shows it. Stdout must not be buffered, or Muster waits in vain for {"type": "ready"}.
"""

import json
import os
import sys


def say(message):
    print(json.dumps(message), flush=True)


def main():
    sys.stdout.reconfigure(line_buffering=True)
    agent, pool = os.environ.get("MUSTER_AGENT_ID", "?"), os.environ.get("MUSTER_POOL", "?")
    print(f"agent {agent} of {pool} starts")
    # The place to load models and to open connections: Muster waits for the next line.
    say({"type": "ready"})
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "stop":
            print("told to stop")
            return
        # A newer Muster may say more than this agent knows.
        print(f"no answer to a message of type {kind!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
