#!/usr/bin/env bash
# Instructions of one request, counted by callgrind: the same on every machine, busy or not.
#
#     benches/instructions.sh [SERIN]      # needs valgrind, h2load (nghttp2-client), and the benches built
#
# Start and end cancel out: two runs of different length are subtracted. The two profiles are kept,
# for callgrind_annotate.
set -euo pipefail
cd "$(dirname "$0")"
serin=${1:-../target/release/serin}
folder=$(mktemp -d)
target/release/endpoint 127.0.0.1:17001 >/dev/null &
endpoint=$!
trap 'kill "$endpoint"; echo "kept: $folder"' EXIT
sed -e 's/{{listen}}/127.0.0.1:17002/; s/{{endpoint}}/127.0.0.1:17001/; s/{{canary}}/127.0.0.1:17001/' \
    -e 's/{{admin_port}}/17003/' peers/serin.yaml >"$folder/serin.yaml"

instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/callgrind.$1" \
        "$serin" run --config "$folder/serin.yaml" >"$folder/log.$1" 2>&1 &
    local proxy=$!
    until grep -q 'serin ready' "$folder/log.$1"; do
        kill -0 "$proxy"
        sleep 0.1
    done
    h2load --h1 -n "$1" -c 16 -t 1 http://127.0.0.1:17002/1k | grep -q "$1 succeeded"
    kill -TERM "$proxy"
    wait "$proxy"
    awk '/^(summary|totals)/ {count = $2} END {print count}' "$folder/callgrind.$1"
}

short=$(instructions 4000)
long=$(instructions 12000)
echo "$(((long - short) / 8000)) instructions a request"
