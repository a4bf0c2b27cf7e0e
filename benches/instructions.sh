#!/usr/bin/env bash
# Instructions of one request, how often it would miss a cache of 32 KiB for code, and how often one of 1 MiB for data: counted by
# callgrind. Only what is done by the clock falls on fewer requests where they take longer.
#
#     benches/instructions.sh [SERIN]      # needs valgrind, h2load (nghttp2-client), and the benches built
#
# With a schedule by configured weights and nothing else, as usual (learned weights, the choice of three, a breaker with a
# condition, the budget of retries), with limits of the upstream on top; and as usual with 512 requests under way instead of 16,
# and for clients of HTTP/2 with 16 and with 512.
# Start and end cancel out: two runs of different length are subtracted. The profiles are kept, for callgrind_annotate.
set -euo pipefail
shopt -s inherit_errexit
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
# Until they have ended nobody else can have their addresses.
trap 'kill "${endpoints[@]}"; wait; echo "kept: $folder"' EXIT

usual='breaker: "NetworkErrorRatio() > 0.5"'
declare -A upstream=(
    [static]='balance: round_robin, breaker: false, retry: {tries: 1, budget: 0%}'
    [limited]="$usual, limits: {in_flight: 10000, in_flight_per_endpoint: 10000}"
)
# How clients come, if not with 16 connections of HTTP/1.1, each of which has one request under way.
declare -A speak=(
    [many]="--h1 -c 512"
    [http2]="-c 1 -m 16"
    [http2_many]="-c 16 -m 32"
)

# NAME REQUESTS: how many instructions, misses for code and misses for data so many requests take.
counts() {
    # An endpoint that did not start would be passed over in silence.
    for endpoint in "${endpoints[@]}"; do
        kill -0 "$endpoint"
    done
    local profile="$folder/callgrind.$1.$2"
    valgrind --tool=callgrind --cache-sim=yes --LL=1048576,16,64 --callgrind-out-file="$profile" \
        "$serin" run --config "$folder/$1.yaml" >"$profile.log" 2>&1 &
    local proxy=$!
    until grep -q 'serin ready' "$profile.log"; do
        kill -0 "$proxy"
        sleep 0.1
    done
    h2load ${speak[$1]:---h1 -c 16} -n "$2" -t 1 http://127.0.0.1:17002/1k | grep -q "$2 succeeded"
    kill -TERM "$proxy"
    wait "$proxy"
    awk '/^(summary|totals)/ {count = $2; code = $5; data = $9 + $10} END {print count, code, data}' "$profile"
}

for name in static usual limited many http2 http2_many; do
    sed -e "s/{{listen}}/127.0.0.1:17002/; s/{address: .*weight: 1}/${addresses[*]}/; s/{{canary}}/127.0.0.1:17001/" \
        -e "s/{{admin_port}}/17003/; s/$usual/${upstream[$name]:-$usual}/" peers/serin.yaml >"$folder/$name.yaml"
    short=($(counts "$name" 4000))
    long=($(counts "$name" 12000))
    count=$(((long[0] - short[0]) / 8000))
    code=$(((long[1] - short[1]) / 8000))
    data=$(((long[2] - short[2]) / 8000))
    first=${first:-$count}
    echo "$name: $count instructions a request, $((count - first)) more than static; misses: $code for code, $data for data"
done
