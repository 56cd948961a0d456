#!/bin/bash
# Ray Jobs: hand a run to a Ray that is up already, wherever it is.
#
# command:   RAY_API_SERVER_ADDRESS=http://<head>:8265 jobs/cluster/submit.sh        in the root of the repository
# hardware:  what the cluster has; every GPU of it becomes a worker
# change:    the config and output.path after `--`; more options of `ray job submit` go before it, or to this script:
#            --no-wait                     return at once; later: ray job logs --follow <id>, ray job stop <id>
#            --entrypoint-num-cpus 1       reserve a CPU for the command itself, which runs on the head
#            --submission-id my-run-2      a name of one's own; each submission needs another
# expected:  the run's output, and exit code 0. Ray turns any other code into 1 and prints what it was;
#            as it stands, the 384 images of the demo in the bucket
#
# The nodes need this package and its dependencies, for example by the image of the Dockerfile beside this file. The
# code is that of this folder: Ray sends along what git does not ignore, up to 512 MiB. The bucket's keys (AWS_*) must be
# in the environment of the nodes. If the Ray wants a token: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=...
#
# Stopped, or lost with its head node, the same command goes on where it was.
set -euo pipefail

# How long `ray job stop` waits, 3 s otherwise, must be more than run.drain_seconds.
exec ray job submit \
    --working-dir . \
    --runtime-env-json '{"excludes": ["/.git", "/docs", "/tests"], "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "90"}}' \
    "$@" \
    -- augment expand configs/expand/emoji.yaml \
    -o run.address=auto -o run.num_workers=all -o run.drain_seconds=60 \
    -o model.device=cuda -o output.path=s3://my-bucket/augment/emoji
