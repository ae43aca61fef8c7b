#!/bin/bash
# Starts a Ray cluster on this machine and others that ssh reaches, gives one command on it, and ends the cluster.
#
#   HOSTS="gpu1 gpu2 gpu3" docs/recipes/ssh.sh infer.py photos/ -o art/ --style udnie --cluster
#   HOSTS="gpu1 gpu2 gpu3" docs/recipes/ssh.sh train.py --style painting.jpg --content-dir photos/ --name my_style \
#       --batch-size 8 --resume=auto --cluster --workers 4
#
# Give it in the folder of the program. Each host needs the same folder with its own .venv (make cluster), keys for ssh
# without a password, and ports that the others reach; keep them closed to everybody else. This machine is the head.
# HEAD_ADDRESS is its address, if the first one of `hostname -I` is not what the hosts reach; SSH is another ssh,
# DIRECTORY another folder on the hosts, RAY_START_FLAGS more flags of `ray start`.
set -euo pipefail

: "${HOSTS:?names of the other machines, separated by spaces}"
SSH=${SSH:-ssh} DIRECTORY=${DIRECTORY:-$PWD} RAY_START_FLAGS=${RAY_START_FLAGS:-}
PYTHON=.venv/bin/python
address=${HEAD_ADDRESS:-$(hostname -I | awk '{print $1}')}
export RAY_ADDRESS=$address:${PORT:-6379} RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

set -m  # each process in the background has a group of its own, which ends as a whole
stop() {
    for group in $(jobs -p); do
        kill -TERM -- "-$group" 2>/dev/null || true
    done
    wait 2>/dev/null || true
}
trap stop EXIT

# shellcheck disable=SC2086  # flags are words
"$PYTHON" -m ray.scripts.scripts start --head --port="${RAY_ADDRESS##*:}" --node-ip-address="$address" \
    $RAY_START_FLAGS --block >ray_head.log 2>&1 &
head=$!
until "$PYTHON" -c "import socket, sys; socket.create_connection(('$address', ${RAY_ADDRESS##*:}), 2)" 2>/dev/null; do
    kill -0 "$head" 2>/dev/null || { cat ray_head.log >&2; exit 1; }
    sleep 1
done

# The token goes through ssh's input, where no list of processes shows it. The node ends when this input does.
node="cd $(printf %q "$DIRECTORY") && read -r RAY_AUTH_TOKEN && export RAY_AUTH_TOKEN RAY_AUTH_MODE=token \
RAY_USAGE_STATS_ENABLED=0 && { $PYTHON -m ray.scripts.scripts start --address=$RAY_ADDRESS $RAY_START_FLAGS --block & \
node=\$!; cat >/dev/null; kill \$node; wait \$node; }"
for host in $HOSTS; do
    # shellcheck disable=SC2086  # SSH may have flags
    { echo "$RAY_AUTH_TOKEN"; exec sleep infinity; } | $SSH "$host" "$node" >"ray_$host.log" 2>&1 &
done

# The command asks the cluster for its size once, so all nodes must be there.
# shellcheck disable=SC2086  # hosts are words
"$PYTHON" - $HOSTS <<'PYTHON'
import sys
import time

import ray

end, count = time.monotonic() + 120, len(sys.argv)
ray.init("auto", logging_level="ERROR", log_to_driver=False)
while (alive := sum(node["Alive"] for node in ray.nodes())) < count:
    if time.monotonic() > end:
        sys.exit(f"ssh.sh: {alive} of {count} machines have joined the cluster after 120 s; see ray_HOST.log")
    time.sleep(1)
PYTHON
"$PYTHON" "$@"
