# Links, routes and packet filters.
#
#   host 10.201.N.1 ── 10.201.N.2 node (API server :6443, DNS :53) ── pods 10.244.4N.0/22, Services 10.(96+N).0.0/16
#                                  │
#                                  ├── 10.202.N.2 proxy (Squid) ── 198.51.100.10 git
#                                  └── 10.203.N.2 operator ── 10.203.N.5 black hole (and DNS witness)     N: the test bed's number
#
# The operator's routes: the API server and the proxy through the node; everything else into the black hole, which drops
# it in silence, as a VPC without an internet gateway does. The proxy does not forward. Git has no route back but to the proxy.
# shellcheck shell=bash

# ------------------------------------------------------------------ on the host

fence_addresses() {
  local net
  for net in "${FENCED_NETS[@]}"; do ip route replace unreachable "$net" metric 4096; done
}

unfence_addresses() {
  local net
  for net in "${FENCED_NETS[@]}"; do ip route del unreachable "$net" metric 4096 2>/dev/null || :; done
}

connect_host() {
  local pid
  pid=$(node_pid)
  # The first process begins in the host's network namespace; the link is for the one it makes for itself.
  local deadline=$((SECONDS + 10))
  until [ -e "$STATE/phase-network" ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the node's network did not start:" "$(tail -n 5 "$STATE/log/node.log")"
    sleep 0.02
  done
  ip link add "$HOST_LINK" type veth peer name host netns "$pid"
  ip addr add "$HOST_IP/30" dev "$HOST_LINK"
  ip link set "$HOST_LINK" up
  # From the host a harness opens pods, Services, the proxy and the operator's own listener directly.
  local net
  for net in $POD_NET $SERVICE_NET ${PROXY_IP%.*}.0/30 ${OPERATOR_IP%.*}.0/30; do ip route add "$net" via "$NODE_IP"; done
}

disconnect_host() { ip link del "$HOST_LINK" 2>/dev/null || :; }

# ------------------------------------------------------------------ inside the node

# connect NAMESPACE NODE_LINK NODE_ADDRESS NAMESPACE_ADDRESS: a link between the node and one of its namespaces.
connect() {
  ip link add "$2" type veth peer name node netns "$1"
  ip addr add "$3/30" dev "$2"
  ip link set "$2" up
  ip -n "$1" addr add "$4/30" dev node
  ip -n "$1" link set node up
}

connect_node() {
  ip link set lo up
  sysctl -qw net.ipv4.ip_forward=1
  # kube-proxy needs bridged packets to pass the packet filter.
  [ -e /proc/sys/net/bridge ] || modprobe br_netfilter
  sysctl -qw net.bridge.bridge-nf-call-iptables=1
  local name
  for name in proxy git blackhole; do
    ip netns add "$name"
    ip -n "$name" link set lo up
    ip netns exec "$name" sysctl -qw net.ipv4.ip_forward=0
  done
  local holder
  holder=$(awk '$1=="operator-holder"{print $2}' "$STATE/processes")
  until [ -e "$STATE/phase-operator" ]; do sleep 0.02; done
  ip netns attach operator "$holder"
  ip -n operator link set lo up

  connect proxy proxy0 "$PROXY_GATEWAY" "$PROXY_IP"
  ip -n proxy route add "${HOST_IP%.*}.0/30" via "$PROXY_GATEWAY"
  ip -n proxy route add "${OPERATOR_IP%.*}.0/30" via "$PROXY_GATEWAY"
  ip -n proxy route add "$POD_NET" via "$PROXY_GATEWAY"

  ip -n proxy link add outside type veth peer name outside netns git
  ip -n proxy addr add "$PROXY_OUTSIDE_IP/24" dev outside
  ip -n proxy link set outside up
  ip -n git addr add "$GIT_IP/24" dev outside
  local address
  for address in "$SILENT_IP" "$SSH_IP" "$NGINX_IP" "$MUTUAL_TLS_IP" "$REGISTRY_IP" "$REGISTRY_MUTUAL_TLS_IP"; do ip -n git addr add "$address/24" dev outside; done
  ip -n git link set outside up
  ip netns exec git nft -f - <<EOF
table ip silence {
  chain arriving { type filter hook input priority 0; ip daddr $SILENT_IP drop; }
}
EOF

  connect operator operator0 "$OPERATOR_GATEWAY" "$OPERATOR_IP"
  ip -n operator route add "$NODE_IP" via "$OPERATOR_GATEWAY"
  ip -n operator route add "$PROXY_IP" via "$OPERATOR_GATEWAY"
  # Answers to the harness, which reads the operator's metrics from the host; the node lets only answers through.
  ip -n operator route add "$HOST_IP" via "$OPERATOR_GATEWAY"
  ip -n operator link add blackhole type veth peer name operator netns blackhole
  ip -n operator addr add "$OPERATOR_BLACKHOLE_IP/30" dev blackhole
  ip -n operator link set blackhole up
  ip -n blackhole addr add "$BLACKHOLE_IP/30" dev operator
  ip -n blackhole link set operator up
  ip -n operator route add default via "$BLACKHOLE_IP"
  # `throw` ends the search in this table; the next has nothing.
  ip -n operator route add throw "$NO_ROUTE_IP"
  ip -n operator route add unreachable "$UNREACHABLE_IP"
  nft -f - <<EOF
table ip operator_fence {
  chain to_node {
    type filter hook input priority -10;
    iifname != operator0 accept
    ct state established,related accept
    ip daddr $NODE_IP tcp dport 6443 accept
    drop
  }
  chain through_node {
    type filter hook forward priority -10;
    iifname != operator0 accept
    ct state established,related accept
    ip daddr $PROXY_IP accept
    drop
  }
}
EOF
  fence_pods
  # What the operator dials past the proxy is dropped without an answer, and remembered.
  ip netns exec blackhole nft -f - <<EOF
table ip blackhole {
  set dialled { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; counter; }
  chain arriving {
    type filter hook prerouting priority -300;
    iifname lo accept
    ip daddr $BLACKHOLE_IP meta l4proto { tcp, udp } th dport 53 accept
    meta l4proto { tcp, udp } update @dialled { ip daddr . meta l4proto . th dport }
    drop
  }
}
EOF

  touch "$STATE/phase-network"
  until ip link show host >/dev/null 2>&1; do sleep 0.02; done # the host hands it over
  ip addr add "$NODE_IP/30" dev host
  ip link set host up
  # The route lets processes of the node open Service addresses: the destination is rewritten after the lookup.
  ip route add "$SERVICE_NET" dev host
}

# Pods reach each other, Services, the API server, DNS and the proxies. What else they dial is dropped without an answer, and
# remembered by the pod's address: before routes and Services are looked at, so that nothing gets past it.
fence_pods() {
  nft -f - <<EOF
table ip pod_fence {
  set dialled { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; counter; }
  chain from_pods {
    type filter hook prerouting priority mangle;
    iifname != cni0 accept
    ct state established,related accept
    ip daddr { $POD_NET, $SERVICE_NET, $PROXY_IP } accept
    ip daddr $NODE_IP meta l4proto { tcp, udp } th dport 53 accept
    ip daddr $NODE_IP tcp dport { 6443, 30000-32767 } accept
    meta l4proto { tcp, udp } update @dialled { ip saddr . ip daddr . meta l4proto . th dport }
    drop
  }
}
EOF
}

start_proxy-names() {
  start proxy-names ip netns exec proxy "$GITSERVER" dns-witness -listen 127.0.0.1:53 -answer nxdomain -log "$STATE/proxy-names.log"
}

# Names that exist behind the proxies only, in the format of /etc/hosts.
outside_names() {
  cat <<EOF
$GIT_IP $GIT_HOST $GIT_MIRROR_HOST $WRONG_NAME_HOST $FORBIDDEN_HOST $READY_HOST
$SILENT_IP $SILENT_HOST
$SSH_IP $SSH_HOST $ALTERNATIVE_SSH_HOST
$NGINX_IP $NGINX_HOST $NGINX_OTHER_HOST
$MUTUAL_TLS_IP $MUTUAL_TLS_HOST
$REGISTRY_IP $REGISTRY_HOST $REGISTRY_LOGIN_HOST $REGISTRY_REDIRECT_HOST $BLOBS_HOST $CHARTS_HOST $CHARTS_LOGIN_HOST
$REGISTRY_MUTUAL_TLS_IP $REGISTRY_MUTUAL_TLS_HOST
EOF
}

start_dns-witness() {
  start dns-witness ip netns exec blackhole "$GITSERVER" dns-witness -listen "$BLACKHOLE_IP:53" -log "$STATE/dns.log"
}

# One JSON line per address, protocol and port that the operator, or a pod, dialled past the proxy.
dialled() {
  case "${1:-}" in
    "") ;;
    pods)
      in_node nft -j list set ip pod_fence dialled |
        jq -c '.nftables[]|.set?|select(.)|.elem[]?|.elem as $e|{pod: $e.val.concat[0], address: $e.val.concat[1], protocol: $e.val.concat[2], port: $e.val.concat[3], packets: $e.counter.packets}'
      return
      ;;
    *) fail "dialled takes nothing or 'pods', not '$1'" ;;
  esac
  in_node ip netns exec blackhole nft -j list set ip blackhole dialled |
    jq -c '.nftables[]|.set?|select(.)|.elem[]?|.elem as $e|{address: $e.val.concat[0], protocol: $e.val.concat[1], port: $e.val.concat[2], packets: $e.counter.packets}'
}
