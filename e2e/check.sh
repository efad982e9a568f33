#!/usr/bin/env bash
# check.sh  -- proves that the test bed keeps its promises: what must be reachable is, what must not be is not, faults act.
#
# Needs a test bed that is up; uses repositories and a namespace of its own and removes them. Exits 1 at the first broken promise.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
bed=$here/testbed.sh
description=$("$bed" description)
of() { jq -r ".$1" "$description"; }
# The caller's own ideas about certificates and proxies must not leak in.
unset GIT_SSH GIT_SSH_COMMAND SSH_AUTH_SOCK GIT_SSL_CAINFO CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY no_proxy
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null

work=$(mktemp -d)
root=$(of git_root)/check
control=$(of git_control)
finish() {
  rm -rf "$work" "$root"
  echo '[]' >"$control"
  if [ "$(of mode)" = pods ]; then "$(of bin)/kubectl" --kubeconfig "$(of kubeconfig)" delete namespace testbed-check --ignore-not-found --wait=false >/dev/null 2>&1 || :; fi
}
trap finish EXIT

expect() { # expect WHAT PATTERN OUTPUT
  if ! grep -qE -- "$2" <<<"$3"; then
    printf 'BROKEN  %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "${3:0:600}" >&2
    exit 1
  fi
  printf 'ok      %s\n' "$1"
}
faults() { echo "$1" >"$control.new" && mv "$control.new" "$control"; }
since() { tail -c "+$(($2 + 1))" "$1"; }        # since FILE OFFSET
offset() { stat -c %s "$1"; }
operator() { "$bed" operator env -C "$work" "$@" 2>&1 || :; }
encoded() { jq -rn --arg text "$1" '$text|@uri'; }

login=$(encoded "$(of git_username)"):$(encoded "$(of git_password)")
proxy=$(of proxy_url_with_credentials)
proxy_login=${proxy#http://} proxy_login=${proxy_login%@*}
intercept=$(of proxy_intercept_url) intercept=http://$proxy_login@${intercept#http://}
git_ca=$(of git_ca) proxy_ca=$(of proxy_ca)
remote() { operator git -c http.proxy="$1" -c http.sslCAInfo="$2" ls-remote "$3"; } # remote PROXY CA URL

mkdir -p "$root"
git init -q --bare -b main "$root/a.git"
git init -q -b main "$work/seed"
head -c 300000 /dev/urandom >"$work/seed/blob"
git -C "$work/seed" add . && git -C "$work/seed" -c user.name=check -c user.email=check@corp.test commit -q -m seed
git -C "$work/seed" push -q "$root/a.git" main
https=https://$login@git.corp.test/check/a.git http=http://$login@git.corp.test/check/a.git

echo "-- git through the proxy"
expect "plain HTTP with the proxy's password" refs/heads/main "$(remote "$proxy" "$git_ca" "$http")"
expect "HTTPS with the proxy's password" refs/heads/main "$(remote "$proxy" "$git_ca" "$https")"
expect "the second name" refs/heads/main "$(remote "$proxy" "$git_ca" "${https/git.corp/mirror.corp}")"
expect "HTTPS without the proxy's password is refused" 407 "$(remote "$(of proxy_url)" "$git_ca" "$https")"
expect "HTTP without the proxy's password is refused" 407 "$(remote "$(of proxy_url)" "$git_ca" "$http")"
expect "the open listener needs none" refs/heads/main "$(remote "$(of proxy_open_url)" "$git_ca" "$https")"
expect "interception shows a certificate of the interception CA" refs/heads/main "$(remote "$intercept" "$proxy_ca" "$https")"
expect "interception is noticed with the git CA" 'certificate verification failed' "$(remote "$intercept" "$git_ca" "$https")"
expect "git wants its own password" '401|could not read Username|Authentication failed' "$(remote "$proxy" "$git_ca" https://git.corp.test/check/a.git)"
before=$(offset "$(of git_access_log)")
operator git -c http.proxy="$proxy" -c http.sslCAInfo="$git_ca" -c protocol.version=2 clone -q --depth 1 "$https" "$work/clone"
expect "a clone arrives whole" "$(sha256sum <"$work/seed/blob")" "$(sha256sum <"$work/clone/blob")"
expect "git's log names the protocol v2 command" '"command":"fetch".*"user_ok":true,"status":200' "$(since "$(of git_access_log)" "$before")"
expect "the proxy's log names user and host" 'operator 200 TCP_TUNNEL CONNECT git.corp.test:443' "$(cat "$(of proxy_access_log)")"

echo "-- hosts that fail"
fetch() { operator curl -sS -m 20 -o /dev/null -w '%{http_connect} %{http_code} %{errormsg}' --cacert "$git_ca" -x "$proxy" "$1"; }
expect "a name the proxy's rules refuse" '^403' "$(fetch "https://$(of forbidden_host)/")"
expect "a name without an address" '^50[03]' "$(fetch "https://$(of unknown_host)/")"
expect "a host that drops packets" '^50[34]' "$(fetch "https://$(of silent_host)/")"
expect "a certificate for other names" 'subject name' "$(fetch "https://$(of wrong_name_host)/")"
expect "an address is refused like an unknown name" '^403' "$(fetch https://198.51.100.10/)"

echo "-- the operator's place"
api=$(of api_server) node=${api#https://} node=${node%:*}
expect "the API server answers" '"major": "1"' "$(operator "$(of bin)/kubectl" --kubeconfig "$(of operator_kubeconfig)" get --raw /version)"
for address in http://198.51.100.10/ https://203.0.113.7/ "http://${node%.*}.1/" "http://$node:10250/" "http://$(sed s/201/202/ <<<"${node%.*}.1")/" "http://${node%.*}.9/"; do
  expect "$address is a black hole" 'timed out' "$(operator curl -sS -m 1 "$address")"
done
expect "the black hole remembers" '"address":"203.0.113.7","protocol":"tcp","port":443' "$("$bed" dialled)"
before=$(offset "$(of dns_log)")
expect "no name resolves" 'not resolve' "$(operator curl -sS -m 5 http://example.corp.test/)"
expect "the witness saw the question" '"name":"example.corp.test.","type":"A"' "$(since "$(of dns_log)" "$before")"
expect "a closed proxy port refuses" 'refused|connect to server' "$(operator curl -sS -m 5 -x "$(of proxy_closed_url)" http://git.corp.test/)"
expect "a silent proxy is silent" 'timed out' "$(operator curl -sS -m 1 -x "$(of proxy_silent_url)" http://git.corp.test/)"
expect "the host has no way to git but the proxy" 'connect|unreachable|timed out' "$(curl -sS -m 2 http://198.51.100.10/ 2>&1 || :)"

no_route=$(of no_route_address) unreachable=$(of unreachable_address)
expect "an address without a route fails at once" 'Network is unreachable|Could ?n.t connect' "$(operator curl -sSv -m 5 "http://$no_route/" )"
expect "and says which kind" 'OSError: .*101|unreachable' "$(operator bash -c "exec 3<>/dev/tcp/$no_route/80")"
expect "an unreachable host fails at once" 'No route to host' "$(operator bash -c "exec 3<>/dev/tcp/$unreachable/80")"
expect "neither is remembered as dialled" '^0$' "$("$bed" dialled | grep -cE "\"($no_route|$unreachable)\"")"

echo "-- every proxy"
git_by() { operator env GIT_SSL_NO_VERIFY= git -c http.sslCAInfo="$git_ca" -c http.proxyAuthMethod=basic "$@" ls-remote "$https"; }
tls_ca=$(of proxy_tls_ca)
with_login() { printf '%s' "${1/:\/\//://$proxy_login@}"; }
expect "Squid over TLS, with its own CA" refs/heads/main "$(git_by -c http.proxy="$(with_login "$(of proxy_tls_url)")" -c http.proxySSLCAInfo="$tls_ca")"
expect "Squid over TLS is not trusted without that CA" 'certificate' "$(git_by -c http.proxy="$(with_login "$(of proxy_tls_url)")" -c http.proxySSLCAInfo="$git_ca")"
expect "Squid with a client certificate" refs/heads/main \
  "$(git_by -c http.proxy="$(of proxy_mutual_tls_url)" -c http.proxySSLCAInfo="$tls_ca" -c http.proxySSLCert="$(of client_certificate)" -c http.proxySSLKey="$(of client_key)")"
expect "and without one" 'fatal' "$(git_by -c http.proxy="$(of proxy_mutual_tls_url)" -c http.proxySSLCAInfo="$tls_ca")"
tiny=$(of tinyproxy_url)
expect "tinyproxy" refs/heads/main "$(git_by -c http.proxy="http://$(of proxy_username):$(of tinyproxy_password)@${tiny#http://}")"
expect "tinyproxy without a password" '407|403' "$(git_by -c http.proxy="$tiny")"
expect "SOCKS5" refs/heads/main "$(git_by -c http.proxy="$(of socks_url)")"
expect "SOCKS5 with a password" refs/heads/main "$(git_by -c http.proxy="$(with_login "$(of socks_password_url)")")"
expect "SOCKS5 without the password" 'fatal' "$(git_by -c http.proxy="$(of socks_password_url)")"
expect "microsocks says whom it connected to" 'git.corp.test' "$(cat "$(of socks_log)")"
mode() { jq -r --arg mode "$1" '.misbehave[$mode]' "$description"; }
by() { operator curl -sS -m "${3:-5}" -o /dev/null -w '%{http_connect} %{http_code} %{errormsg}' --cacert "$git_ca" --proxy-cacert "$tls_ca" -x "$(mode "$1")" "${2:-https://git.corp.test/}"; }
by_login() { operator curl -sS -m 5 -o /dev/null -w '%{http_connect} %{http_code} %{errormsg}' --cacert "$git_ca" --proxy-cacert "$tls_ca" --proxy-basic -x "$(with_login "$(mode "$1")")" https://git.corp.test/; }
for good in tunnel connect:http10 connect:204 tls/tunnel socks/tunnel slot:0; do expect "the misbehaving proxy as $good" '^[0-9]* 401' "$(by "$good")"; done
for good in login:basic login:joined login:repeated login:forbidden tls/login:basic socks/login; do expect "the misbehaving proxy as $good, with the password" ' 401' "$(by_login "$good")"; done
expect "the misbehaving proxy forwards plain requests" '401' "$(by tunnel http://git.corp.test/)"
for code in 400 403 407 451 500 502 504 511; do expect "a tunnel refused by $code" "^$code" "$(by "status:$code")"; done
expect "an answer that never ends" 'timed out|headers|Too large' "$(by head:endless '' 2)"
expect "half a head and silence" 'timed out' "$(by head:half-stall '' 1)"
expect "a reset" 'reset|Recv failure|aborted|connect to server' "$(by accept:reset)"
expect "a cut tunnel" 'SSL|closed|reset|EOF|error' "$(by cut:800)"
expect "a stalled tunnel" 'timed out' "$(by stall:800 '' 1)"
expect "a wrong length" 'bytes (remaining|missing)|outstanding' "$(by forward:long http://git.corp.test/)"
expect "a redirect loop" '302' "$(by forward:loop http://git.corp.test/)"
expect "SOCKS refuses by a number" 'SOCKS|proxy' "$(by socks/reply:5)"
echo '{"slot:1": "status:418"}' >"$(of misbehave_control).new" && mv "$(of misbehave_control).new" "$(of misbehave_control)"
expect "a slot is what the control file says" '^418' "$(by slot:1)"
echo '{}' >"$(of misbehave_control)"
expect "the misbehaving proxy's log has a line for each connection" '"mode":"slot:1","acting":"status:418".*"method":"CONNECT","target":"git.corp.test:443".*"outcome":"answered 418"' "$(cat "$(of misbehave_log)")"
expect "with a hash of the password only" '"scheme":"Basic","credentials":"[0-9a-f]{12}","credentials_ok":true' "$(cat "$(of misbehave_log)")"

echo "-- what lies behind the proxies"
open_proxy=$(of proxy_open_url)
nginx() { operator git -c http.proxy="$open_proxy" -c http.sslCAInfo="$git_ca" ls-remote "https://${2:-}$(of nginx_host)/$1/check/a.git"; }
expect "nginx with git's CGI program" refs/heads/main "$(nginx open)"
expect "nginx in clear" refs/heads/main "$(operator git -c http.proxy="$open_proxy" ls-remote "http://$(of nginx_host)/open/check/a.git")"
expect "nginx with a password" refs/heads/main "$(nginx login "$login@")"
expect "nginx wants it" 'could not read Username|Authentication failed' "$(nginx login)"
expect "nginx passes the protocol's version" 'version 2' "$(GIT_TRACE_PACKET=1 nginx open)"
expect "nginx without it" refs/heads/main "$(GIT_TRACE_PACKET=1 nginx v0 | grep -v 'version 2')"
expect "nginx sends to another host" "redirecting to https://$(of nginx_other_host)" "$(nginx moved)"
answer() { operator curl -sS -m 5 -o /dev/null -w '%{http_code} %{content_type} %{redirect_url}' --cacert "$git_ca" -x "$open_proxy" "$@"; }
expect "nginx sends from TLS to clear text" "^301 .*http://$(of nginx_host)/open/" "$(answer "https://$(of nginx_host)/downgrade/check/a.git/info/refs")"
expect "nginx in a circle" "^302 .*/loop/" "$(answer "https://$(of nginx_host)/loop/check/a.git/info/refs")"
expect "nginx with a page" '^200 text/html' "$(answer "https://$(of nginx_host)/page/check/a.git/info/refs")"
expect "nginx with a client certificate" refs/heads/main \
  "$(operator git -c http.proxy="$open_proxy" -c http.sslCAInfo="$git_ca" -c http.sslCert="$(of client_certificate)" -c http.sslKey="$(of client_key)" ls-remote "https://$(of mutual_tls_host)/open/check/a.git")"
expect "and without one" '400|fatal' "$(operator git -c http.proxy="$open_proxy" -c http.sslCAInfo="$git_ca" ls-remote "https://$(of mutual_tls_host)/open/check/a.git")"
by_ssh() { # by_ssh KEY HOST PORT
  operator env GIT_SSH_COMMAND="ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i $(of ssh_directory)/$1 -o UserKnownHostsFile=$(of ssh_known_hosts) -o StrictHostKeyChecking=yes -o ProxyCommand='$(of gitserver) connect $open_proxy %h:%p'" \
    git ls-remote "ssh://git@$2:$3/check/a.git"
}
for key in client_ed25519 client_ecdsa client_rsa; do expect "SSH through the proxy with $key" refs/heads/main "$(by_ssh "$key" "$(of ssh_host)" 22)"; done
expect "SSH on port 443" refs/heads/main "$(by_ssh client_ed25519 "$(of alternative_ssh_host)" 443)"
expect "SSH refuses a stranger" 'Permission denied' "$(by_ssh stranger "$(of ssh_host)" 22)"
expect "the proxy refuses port 22 of others" '403' "$(by_ssh client_ed25519 git.corp.test 22)"
head -c 1000 /dev/urandom >"$work/layer"
layer=sha256:$(sha256sum "$work/layer" | cut -d' ' -f1)
registry() { operator curl -sS -m 5 --cacert "$git_ca" -x "$open_proxy" "$@"; }
upload=$(registry -i -X POST "https://$(of registry_host)/v2/check/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
expect "the registry takes a blob" '^201' "$(registry -o /dev/null -w '%{http_code}' -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$work/layer" "https://$(of registry_host)$upload&digest=$layer")"
blob() { registry -o "$work/blob" -w '%{http_code} %{url_effective} ' "$@"; sha256sum <"$work/blob"; }
expect "in clear" "^200 .*${layer#*:}" "$(blob "http://$(of registry_host)/v2/check/blobs/$layer")"
expect "with a password" "^200 .*${layer#*:}" "$(blob -u "$(of git_username):$(of git_password)" "https://$(of registry_login_host)/v2/check/blobs/$layer")"
expect "which is wanted" '^401' "$(blob "https://$(of registry_login_host)/v2/check/blobs/$layer")"
expect "with a client certificate" "^200 .*${layer#*:}" "$(blob --cert "$(of client_certificate)" --key "$(of client_key)" "https://$(of registry_mutual_tls_host)/v2/check/blobs/$layer")"
expect "by a redirect to another host" "^200 https://$(of blobs_host)/.*${layer#*:}" "$(blob -L -u "$(of git_username):$(of git_password)" "https://$(of registry_redirect_host)/v2/check/blobs/$layer")"
expect "which refuses credentials" '^400' "$(blob -L --location-trusted -u "$(of git_username):$(of git_password)" "https://$(of registry_redirect_host)/v2/check/blobs/$layer")"
echo 'apiVersion: v1' >"$(of charts_root)/check.yaml"
expect "a chart repository" 'apiVersion' "$(registry "https://$(of charts_host)/check.yaml")"
expect "a chart repository with a password" 'apiVersion' "$(registry -u "$(of git_username):$(of git_password)" "https://$(of charts_login_host)/check.yaml")"
rm -f "$(of charts_root)/check.yaml"

echo "-- faults of the git server"
ask() { operator curl --http1.1 -sS -m "${2:-5}" -o /dev/null -w '%{http_code} %{redirect_url} %{errormsg}' --cacert "$git_ca" -x "$proxy" -u "$(of git_username):$(of git_password)" "https://git.corp.test/check/a.git/info/refs?service=git-upload-pack${1:-}"; }
faults '[{"prefix": "/check/", "fault": "status:503"}]'
expect "a status" '^503' "$(ask)"
faults '[{"prefix": "/check/", "fault": "down"}]'
expect "a closed connection" 'Empty reply|reset|closed' "$(ask)$(fetch https://git.corp.test/check/)"
faults '[{"prefix": "/check/", "fault": "stall"}]'
expect "silence" 'timed out' "$(ask '' 1)"
faults '[{"prefix": "/check/", "fault": "redirect:https://mirror.corp.test"}]'
expect "a redirect" '^302 https://mirror.corp.test/check/a.git/info/refs' "$(ask)"
faults '[{"prefix": "/check/", "fault": "cut:20000"}]'
expect "a cut answer" 'early EOF|RPC failed|disconnect|unexpected|fetch-pack' "$(operator git -c http.proxy="$proxy" -c http.sslCAInfo="$git_ca" clone -q "$https" "$work/cut")"
faults '[{"prefix": "/check/", "fault": "reset:0"}]'
expect "a reset, which the proxy makes an end of" 'reset|Recv failure|SSL|outstanding|Empty reply' "$(ask)"
faults '[{"prefix": "/check/", "fault": "freeze:20"}]'
expect "an answer that stops" 'timed out' "$(ask '' 1)"
faults '[{"prefix": "/check/", "fault": "length:100"}]'
expect "an answer that is shorter than it says" 'outstanding|remaining|missing' "$(ask)"
faults '[{"prefix": "/check/", "fault": "html"}]'
expect "a page" '^200' "$(ask)"
faults '[{"prefix": "/check/", "fault": "protocol:0"}]'
expect "a server without protocol v2" 'refs/heads/main' "$(operator env GIT_TRACE_PACKET=1 git -c http.proxy="$proxy" -c http.sslCAInfo="$git_ca" ls-remote "$https" | grep -v 'version 2')"
faults '[{"prefix": "/other/", "fault": "down"}]'
expect "a fault elsewhere does not act here" '^200' "$(ask)"

echo "-- services that go away"
"$bed" service git stop
expect "the proxy says that git is gone" '^50[0-9]' "$(fetch https://git.corp.test/)"
"$bed" service git start 2>/dev/null
"$bed" service squid stop
expect "the proxy is gone" 'refused|connect to server' "$(ask)"
"$bed" service squid start 2>/dev/null
expect "both are back" '^200' "$(ask)"

echo "-- cluster"
kubectl() { "$(of bin)/kubectl" --kubeconfig "$(of kubeconfig)" "$@"; }
before=$(offset "$(of audit_log)")
operator "$(of bin)/kubectl" --kubeconfig "$(of operator_kubeconfig)" -n default get configmaps >/dev/null
expect "the audit log tells the operator's requests apart" "\"verb\":\"list\".*\"username\":\"$(of operator_user)\".*\"resource\":\"configmaps\"" "$(since "$(of audit_log)" "$before")"
if [ "$(of mode)" = pods ]; then
  kubectl apply -f - >/dev/null <<'EOF'
apiVersion: v1
kind: Namespace
metadata: {name: testbed-check, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: testbed-check}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: tidelock.local/demo:2
        env: [{name: READY_DELAY, value: "1"}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: testbed-check}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: testbed-check}
spec:
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: tidelock.local/demo:1
        args: [run]
        env: [{name: DURATION, value: 200ms}]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
EOF
  expect "a Deployment becomes available" 'successfully rolled out' "$(kubectl -n testbed-check rollout status deploy/app --timeout=60s 2>&1)"
  expect "a Job completes" 'condition met' "$(kubectl -n testbed-check wait job/once --for=condition=complete --timeout=60s 2>&1)"
  service=$(kubectl -n testbed-check get service app -o 'jsonpath={.spec.clusterIP}')
  expect "its Service answers the host, as version 2 and user 65532" '"uid":65532,"version":"2"' "$(curl -sS -m 5 --retry 20 --retry-delay 1 --retry-all-errors --noproxy '*' "http://$service/" 2>&1)"
  pod=$(kubectl -n testbed-check get pod -l app=app -o 'jsonpath={.items[0].metadata.name}')
  expect "logs" 'version 2 serves' "$(kubectl -n testbed-check logs "$pod" 2>&1)"
fi
echo "the test bed keeps its promises"
