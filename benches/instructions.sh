#!/usr/bin/env bash
# Instructions of one request, counted by callgrind: the same on every machine, busy or not.
#
#     benches/instructions.sh [SERIN]      # needs valgrind, h2load (nghttp2-client), and the benches built
#
# Four times: with a schedule by configured weights and nothing else, as usual (learned weights, the choice of three, a
# breaker with a condition, the budget of retries), with limits of the upstream on top, and as usual for clients of HTTP/2.
# Start and end cancel out: two runs of different length are subtracted. The profiles are kept, for callgrind_annotate.
set -euo pipefail
cd "$(dirname "$0")"
serin=${1:-../target/release/serin}
folder=$(mktemp -d)
endpoints=()
addresses=()
for host in {1..8}; do
    target/release/endpoint "127.0.0.$host:17001" >/dev/null &
    endpoints+=($!)
    addresses+=("\"127.0.0.$host:17001\",")
done
trap 'kill "${endpoints[@]}"; echo "kept: $folder"' EXIT

usual='breaker: "NetworkErrorRatio() > 0.5"'
declare -A upstream=(
    [static]='balance: round_robin, breaker: false, retry: {tries: 1, budget: 0%}'
    [usual]="$usual"
    [limited]="$usual, limits: {in_flight: 10000, in_flight_per_endpoint: 10000}"
    [http2]="$usual"
)
declare -A speak=([static]=--h1 [usual]=--h1 [limited]=--h1 [http2]="-m 32")

# NAME REQUESTS: how many instructions so many requests take. What clients speak is in `speak`.
instructions() {
    local profile="$folder/callgrind.$1.$2"
    valgrind --tool=callgrind --callgrind-out-file="$profile" \
        "$serin" run --config "$folder/$1.yaml" >"$profile.log" 2>&1 &
    local proxy=$!
    until grep -q 'serin ready' "$profile.log"; do
        kill -0 "$proxy"
        sleep 0.1
    done
    h2load ${speak[$1]} -n "$2" -c 16 -t 1 http://127.0.0.1:17002/1k | grep -q "$2 succeeded"
    kill -TERM "$proxy"
    wait "$proxy"
    awk '/^(summary|totals)/ {count = $2} END {print count}' "$profile"
}

for name in static usual limited http2; do
    sed -e "s/{{listen}}/127.0.0.1:17002/; s/{address: .*weight: 1}/${addresses[*]}/; s/{{canary}}/127.0.0.1:17001/" \
        -e "s/{{admin_port}}/17003/; s/$usual/${upstream[$name]}/" peers/serin.yaml >"$folder/$name.yaml"
    short=$(instructions "$name" 4000)
    long=$(instructions "$name" 12000)
    count=$(((long - short) / 8000))
    first=${first:-$count}
    echo "$name: $count instructions a request, $((count - first)) more than static"
done
