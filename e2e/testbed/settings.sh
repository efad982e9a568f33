# Names, addresses and paths of the test bed: the one place where they are written down.
# shellcheck shell=bash disable=SC2034

# Up to eight test beds can be up at once on a machine; the number makes their addresses and names differ.
if [ -z "${TIDELOCK_TESTBED:-}" ]; then
  NUMBER=${TIDELOCK_TESTBED_NUMBER:-0}
  STATE=/var/lib/tidelock-testbed
  [ "$NUMBER" = 0 ] || STATE=$STATE-$NUMBER
else
  STATE=$(readlink -m "$TIDELOCK_TESTBED")
  NUMBER=${TIDELOCK_TESTBED_NUMBER:-$(cat "$STATE/number" 2>/dev/null || echo 0)}
fi
case "$NUMBER" in [0-7]) ;; *) fail "TIDELOCK_TESTBED_NUMBER is a number from 0 to 7, not '$NUMBER'" ;; esac
export TIDELOCK_TESTBED=$STATE TIDELOCK_TESTBED_NUMBER=$NUMBER
CACHE=${TIDELOCK_CACHE:-$HOME/.cache/tidelock}

# Marks the state directory as ours, so that `down` never removes anything else.
MARKER=$STATE/.tidelock-testbed
# Argument of the node's first process; together with $STATE it identifies a node in the process table.
NODE_COMMAND=__tidelock_node
CGROUP=tidelock-testbed-$NUMBER

NODE_NAME=tidelock-node
HOST_LINK=tidelock$NUMBER
HOST_IP=10.201.$NUMBER.1 NODE_IP=10.201.$NUMBER.2                    # the only link of the host
PROXY_GATEWAY=10.202.$NUMBER.1 PROXY_IP=10.202.$NUMBER.2             # node - proxy
OPERATOR_GATEWAY=10.203.$NUMBER.1 OPERATOR_IP=10.203.$NUMBER.2       # node - operator
BLACKHOLE_IP=10.203.$NUMBER.5 OPERATOR_BLACKHOLE_IP=10.203.$NUMBER.6 # black hole and DNS witness - operator
GIT_NET=198.51.100.0/24 PROXY_OUTSIDE_IP=198.51.100.1 GIT_IP=198.51.100.10 SILENT_IP=198.51.100.66 # proxy - git; the host has no way there
POD_NET=10.244.$((NUMBER * 4)).0/22 SERVICE_NET=10.$((96 + NUMBER)).0.0/16 API_SERVICE_IP=10.$((96 + NUMBER)).0.1

# Everything above. A process that still points at an address of a node that is gone must fail on this
# machine and never travel along its default route; so these stay unreachable after `down` too.
FENCED_NETS=(10.201.0.0/16 10.202.0.0/16 10.203.0.0/16 10.244.0.0/16 10.96.0.0/13 "$GIT_NET")

PROXY_PORT=3128 PROXY_INTERCEPT_PORT=3130 PROXY_OPEN_PORT=3131 PROXY_TLS_PORT=3132 PROXY_MUTUAL_TLS_PORT=3133
PROXY_USERNAME=operator
PROXY_PASSWORD='pr0xy:p@ss/#%'
PROXY_HOST=proxy.corp.test            # in the certificate of the TLS listeners, besides the address
TINYPROXY_PORT=8888
TINYPROXY_PASSWORD=tiny-Pr0xy.pass    # its configuration knows letters, digits, '-', '.' and '_' only
SOCKS_PORT=1080 SOCKS_PASSWORD_PORT=1081
MISBEHAVE_PORT=4000                   # the first of many
GIT_HOST=git.corp.test
GIT_MIRROR_HOST=mirror.corp.test
GIT_USERNAME=tidelock
GIT_PASSWORD='g1t&s3cret+"x"'
# Names the proxy lets through besides the two above; each fails in its own way behind it.
UNKNOWN_HOST=unknown.corp.test        # has no address
SILENT_HOST=silent.corp.test          # its packets are dropped
WRONG_NAME_HOST=wrongname.corp.test   # answers with a certificate for other names
# Where `up` asks whether the whole way works; in neither access log.
READY_HOST=ready.corp.test
# Known to the proxy and refused by its rules.
FORBIDDEN_HOST=forbidden.corp.test

# Behind the proxies besides the git server, each at an address of its own.
SSH_IP=198.51.100.20 SSH_HOST=ssh.corp.test ALTERNATIVE_SSH_HOST=altssh.corp.test # both at :22 and :443
NGINX_IP=198.51.100.30 NGINX_HOST=nginx.corp.test NGINX_OTHER_HOST=nginx2.corp.test
MUTUAL_TLS_IP=198.51.100.31 MUTUAL_TLS_HOST=mtls.corp.test
REGISTRY_IP=198.51.100.40 REGISTRY_HOST=registry.corp.test
REGISTRY_LOGIN_HOST=registry-login.corp.test REGISTRY_REDIRECT_HOST=registry-redirect.corp.test
REGISTRY_MUTUAL_TLS_IP=198.51.100.41 REGISTRY_MUTUAL_TLS_HOST=registry-mtls.corp.test
BLOBS_HOST=blobs.corp.test CHARTS_HOST=charts.corp.test CHARTS_LOGIN_HOST=charts-login.corp.test
OUTSIDE_HOSTS=("$NGINX_HOST" "$NGINX_OTHER_HOST" "$MUTUAL_TLS_HOST" "$REGISTRY_HOST" "$REGISTRY_LOGIN_HOST" "$REGISTRY_REDIRECT_HOST"
  "$REGISTRY_MUTUAL_TLS_HOST" "$BLOBS_HOST" "$CHARTS_HOST" "$CHARTS_LOGIN_HOST")

# Addresses no route of the operator's leads to (RFC 5737), each refused by its kernel in its own way. The black hole is the third kind.
NO_ROUTE_IP=192.0.2.10                # ENETUNREACH
UNREACHABLE_IP=192.0.2.138            # EHOSTUNREACH

API_SERVER=https://$NODE_IP:6443
OPERATOR_USER=tidelock-operator       # the operator's own user, so that the audit log tells its requests apart

CONTAINERD=${CONTAINERD:-/usr/bin/containerd} CTR=${CTR:-/usr/bin/ctr}
CONTAINERD_SOCKET=/run/containerd/containerd.sock
# Where the node pulls from; a name that only containerd knows.
IMAGE_REGISTRY=registry.tb.local:5000
PAUSE_IMAGE=tidelock.local/pause:1
DEMO_IMAGE=tidelock.local/demo        # with the tags of DEMO_VERSIONS
DEMO_VERSIONS=(1 2 3)
