#!/bin/sh
# The smallest agent in shell: it says that it is ready, and runs until it is told to stop.
# Muster speaks in JSON objects, one a line, over stdin and stdout; any other line that is printed is the agent's log.
set -eu

echo "agent ${MUSTER_AGENT_ID:-?} of ${MUSTER_POOL:-?} starts"
echo '{"type":"ready"}'
while IFS= read -r line; do
    case $line in
    *'"type":"stop"'* | *'"type": "stop"'*)
        echo "told to stop"
        exit 0
        ;;
    *)
        # A newer Muster may say more than this agent knows.
        echo "no answer to: $line" >&2
        ;;
    esac
done
