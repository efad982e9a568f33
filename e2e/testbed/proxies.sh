# The other proxies: tinyproxy, SOCKS5 by microsocks, and the misbehaving one (e2e/gitserver/misbehave_modes.go).
# shellcheck shell=bash

write_proxy_files() {
  local directory=$STATE/proxies
  mkdir -p "$directory"
  outside_names >"$directory/hosts"
  echo "127.0.0.1 localhost" >>"$directory/hosts"
  echo "nameserver 127.0.0.1" >"$directory/resolv.conf"
  echo "hosts: files dns" >"$directory/nsswitch.conf"
  cat >"$directory/tinyproxy.conf" <<EOF
Port $TINYPROXY_PORT
Listen $PROXY_IP
Timeout 600
MaxClients 200
LogFile "$directory/tinyproxy.log"
LogLevel Connect
ViaProxyName "tinyproxy"
BasicAuth $PROXY_USERNAME $TINYPROXY_PASSWORD
ConnectPort 443
ConnectPort 22
EOF
  (umask 077 && printf '%s\n' "$PROXY_PASSWORD" >"$directory/password")
  : >"$directory/misbehave.log"
  echo '{}' >"$directory/misbehave.json"
}

# Runs in the node: a program in the proxy's place that resolves the names which exist there only.
in_proxy_place() {
  # shellcheck disable=SC2016
  ip netns exec proxy bash -c '
    set -e
    mount --bind "$1/hosts" /etc/hosts
    mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
    [ ! -e /etc/nsswitch.conf ] || mount --bind "$1/nsswitch.conf" "$(readlink -f /etc/nsswitch.conf)"
    shift
    exec "$@"' place "$STATE/proxies" "$@"
}

start_other_proxies() { start_tinyproxy && start_socks && start_socks-password && start_misbehave; }

start_tinyproxy() { start tinyproxy in_proxy_place tinyproxy -d -c "$STATE/proxies/tinyproxy.conf"; }

start_socks() { start socks in_proxy_place microsocks -i "$PROXY_IP" -p "$SOCKS_PORT"; }

start_socks-password() {
  start socks-password in_proxy_place microsocks -i "$PROXY_IP" -p "$SOCKS_PASSWORD_PORT" -u "$PROXY_USERNAME" -P "$PROXY_PASSWORD"
}

start_misbehave() {
  start misbehave in_proxy_place "$GITSERVER" misbehave -address "$PROXY_IP" -base "$MISBEHAVE_PORT" \
    -username "$PROXY_USERNAME" -password-file "$STATE/proxies/password" \
    -log "$STATE/proxies/misbehave.log" -control "$STATE/proxies/misbehave.json" \
    -tls-certificate "$STATE/pki/proxy.crt" -tls-key "$STATE/pki/proxy.key" \
    -tls-other-certificate "$STATE/pki/proxy-other.crt" -tls-other-key "$STATE/pki/proxy-other.key" -tls-client-ca "$STATE/pki/client-ca.crt"
}
