#!/bin/sh
# A small agent in shell: it says that it is ready, and does one task after the other until it is told to stop.
# Muster speaks in JSON objects, one a line, over stdin and stdout; any other line that is printed is the agent's log.
set -eu

echo "agent ${MUSTER_AGENT_ID:-?} of ${MUSTER_POOL:-?} starts"
echo '{"type":"ready"}'
while IFS= read -r line; do
    case $line in
    '{"type":"task","id":"'*)
        # The first of the three, since the input of a task may hold any text.
        id=${line#'{"type":"task","id":"'}
        id=${id%%'"'*}
        echo "{\"type\":\"result\",\"id\":\"$id\",\"output\":{\"length\":${#line}}}"
        ;;
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
