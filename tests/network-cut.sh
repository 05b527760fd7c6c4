#!/usr/bin/env bash
# A global and a zone in network namespaces of their own. Every packet between them is dropped,
# and no end of the connection is told; then the packets pass again. Prints what `meridian` says
# all the while, and fails unless both ends notice within 6 s, the change is shown as not there
# meanwhile, and is live within 5 s after the network is whole.
#
# Run it as root on Linux, from the root of the project, after `cargo build --release`:
#
#     sudo tests/network-cut.sh [FOLDER OF BINARIES, target/release if not said]
set -euo pipefail

bin=$(cd "${1:-target/release}" && pwd)
dir=$(mktemp -d)
global="meridian-global-$$" zone="meridian-zone-$$"
pids=()

cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns delete "$global" 2>/dev/null || true
    ip netns delete "$zone" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 20 "$dir"/*.log | cut -c 1-200 >&2
    exit 1
}

# Runs `meridian` at the global and shows how one would have called it.
meridian() {
    printf '%s $ meridian %s\n' "$(date +%T.%3N)" "$*" >&2
    ip netns exec "$global" "$bin/meridian" "$@" --address http://127.0.0.1:5681
}

# Has packets between the two go to the given hardware addresses: real ones, or nobody's.
neighbours() {
    ip -n "$global" neigh replace 10.98.0.2 lladdr "$2" dev veth nud permanent
    ip -n "$zone" neigh replace 10.98.0.1 lladdr "$1" dev veth nud permanent
}

address_of() { ip -n "$1" -o link show veth | sed 's/.*link\/ether \([^ ]*\) .*/\1/'; }

edge() {
    cat <<YAML
type: MeshGateway
mesh: default
name: edge
selectors:
- match: {kuma.io/service: edge}
conf:
  listeners:
  - {port: $1, protocol: HTTP}
YAML
}

ip netns add "$global"
ip netns add "$zone"
ip -n "$global" link add veth type veth peer name veth netns "$zone"
for at in "$global 10.98.0.1" "$zone 10.98.0.2"; do
    read -r space address <<<"$at"
    ip -n "$space" address add "$address/24" dev veth
    ip -n "$space" link set veth up
    ip -n "$space" link set lo up
done
real=("$(address_of "$global")" "$(address_of "$zone")")
neighbours "${real[@]}"

KUMA_GENERAL_WORK_DIR="$dir/global" KUMA_API_SERVER_HTTPS_ENABLED=false \
    ip netns exec "$global" "$bin/global-cp" run 2>"$dir/global.log" &
pids+=($!)
for _ in $(seq 100); do
    if token=$(meridian generate zone-token --zone east --scope cp --valid-for 1h 2>"$dir/token"); then break; fi
    sleep 0.1
done
[[ -n "${token:-}" ]] || fail "the global does not answer: $(<"$dir/token")"
KUMA_GENERAL_WORK_DIR="$dir/zone" KUMA_API_SERVER_HTTPS_ENABLED=false \
    KUMA_MULTIZONE_ZONE_NAME=east KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://10.98.0.1:5685 \
    KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY=true \
    KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE="$token" \
    ip netns exec "$zone" "$bin/zone-cp" run 2>"$dir/zone.log" &
pids+=($!)
edge 8080 | meridian apply -f -
for _ in $(seq 100); do
    if meridian explain meshgateway edge 2>/dev/null | grep -q "east .*live"; then break; fi
    sleep 0.1
done
meridian explain meshgateway edge | grep "east .*live" || fail "the zone does not follow"

echo "--- $(date +%T.%3N) from here on every packet is lost"
neighbours 02:00:00:00:00:01 02:00:00:00:00:02
edge 8081 | meridian apply -f -
sleep 1
said=$(meridian explain meshgateway edge)
echo "$said"
grep -q "on its way" <<<"$said" || fail "the change is not shown to be on its way"
meridian wait meshgateway edge --timeout 1s && fail "it cannot be live"
sleep 4
said=$(meridian explain meshgateway edge)
echo "$said"
grep -q "east .*offline since" <<<"$said" || fail "the global has not noticed"
grep -q "nothing came from the peer" "$dir/zone.log" || fail "the zone has not noticed"

echo "--- $(date +%T.%3N) packets pass again"
neighbours "${real[@]}"
meridian wait meshgateway edge --timeout 5s || fail "the change does not come"
said=$(meridian explain meshgateway edge)
echo "$said"
grep -q "east .*live" <<<"$said" || fail "the change is not shown to be live"
