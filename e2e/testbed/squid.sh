# The corporate proxy: Squid with five listeners, all with the same rules on destinations.
#
#   :3128  Basic authentication, tunnels TLS untouched
#   :3130  Basic authentication, intercepts TLS with a CA of its own
#   :3131  no authentication
#   :3132  Basic authentication, speaks TLS itself
#   :3133  the same, and wants a client certificate instead of a password
# shellcheck shell=bash

# Squid gives up root and may be unable to enter the state directory; the node binds its part of it here.
SQUID_DIRECTORY=/run/squid

write_squid_files() {
  local directory=$STATE/squid
  mkdir -p "$directory"
  htpasswd -icm "$directory/users" "$PROXY_USERNAME" 2>/dev/null <<<"$PROXY_PASSWORD"
  cat "$STATE/pki/interception-ca.crt" "$STATE/pki/interception-ca.key" >"$directory/interception.pem"
  cp "$STATE/pki/git-ca.crt" "$directory/git-ca.crt"
  cp "$STATE/pki/client-ca.crt" "$directory/client-ca.crt"
  cat "$STATE/pki/proxy.crt" "$STATE/pki/proxy.key" >"$directory/proxy.pem"
  outside_names >"$directory/hosts"
  cat >"$directory/squid.conf" <<EOF
http_port $PROXY_IP:$PROXY_PORT name=tunnel
http_port $PROXY_IP:$PROXY_INTERCEPT_PORT name=intercept ssl-bump tls-cert=$SQUID_DIRECTORY/interception.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
http_port $PROXY_IP:$PROXY_OPEN_PORT name=open
https_port $PROXY_IP:$PROXY_TLS_PORT name=tls tls-cert=$SQUID_DIRECTORY/proxy.pem
https_port $PROXY_IP:$PROXY_MUTUAL_TLS_PORT name=mutual tls-cert=$SQUID_DIRECTORY/proxy.pem clientca=$SQUID_DIRECTORY/client-ca.crt
sslcrtd_program /usr/lib/squid/security_file_certgen -s $SQUID_DIRECTORY/certificates -M 4MB
sslcrtd_children 4 startup=1 idle=1
ssl_bump bump all
tls_outgoing_options cafile=$SQUID_DIRECTORY/git-ca.crt
visible_hostname proxy.corp.test
hosts_file $SQUID_DIRECTORY/hosts
# A name that is not in the file has no address: the name server there says so at once.
dns_nameservers 127.0.0.1
error_default_language en
auth_param basic program /usr/lib/squid/basic_ncsa_auth $SQUID_DIRECTORY/users
auth_param basic children 4 startup=1 idle=1
auth_param basic realm corporate proxy
auth_param basic credentialsttl 1 hour

# -n: without it a bare address would be let through by its reverse entry in the hosts file.
acl git_hosts dstdomain -n $GIT_HOST $GIT_MIRROR_HOST $UNKNOWN_HOST $SILENT_HOST $WRONG_NAME_HOST ${OUTSIDE_HOSTS[*]}
acl ssh_hosts dstdomain -n $SSH_HOST $ALTERNATIVE_SSH_HOST
acl readiness dstdomain -n $READY_HOST
acl open_listener myportname open mutual
acl web_ports port 80 443
acl tls_port port 443
acl ssh_port port 22
acl ssh_target all-of ssh_hosts ssh_port
acl CONNECT method CONNECT
acl known_user proxy_auth REQUIRED
http_access deny !web_ports !ssh_target
http_access deny CONNECT !tls_port !ssh_target
http_access allow open_listener git_hosts
http_access allow open_listener ssh_hosts
http_access deny open_listener
http_access deny !known_user
http_access allow git_hosts
http_access allow ssh_hosts
http_access allow readiness
http_access deny all

connect_timeout 10 seconds
forward_max_tries 1
cache deny all
cache_mem 8 MB
strip_query_terms off
logformat testbed %ts.%03tu %>a %la:%lp %un %>Hs %Ss %rm %ru %<st %>st %tr
access_log stdio:$SQUID_DIRECTORY/access.log logformat=testbed !readiness
cache_log $SQUID_DIRECTORY/cache.log
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir none
shutdown_lifetime 0 seconds
EOF
}

# Runs in the node.
start_squid() {
  if ! mountpoint -q "$SQUID_DIRECTORY"; then
    mkdir -p "$SQUID_DIRECTORY"
    mount --bind "$STATE/squid" "$SQUID_DIRECTORY"
    /usr/lib/squid/security_file_certgen -c -s "$SQUID_DIRECTORY/certificates" -M 4MB >/dev/null
    touch "$SQUID_DIRECTORY/access.log"
    chown -R proxy: "$SQUID_DIRECTORY"
    chmod 700 "$SQUID_DIRECTORY"
  fi
  start squid ip netns exec proxy squid -N -f "$SQUID_DIRECTORY/squid.conf"
}

# The whole way from the host through Squid's login to the git server.
proxy_ready() {
  [ "$(curl -s -o /dev/null -m 5 -w '%{http_code}' --noproxy '' -x "http://$PROXY_IP:$PROXY_PORT" --proxy-user "$PROXY_USERNAME:$PROXY_PASSWORD" \
    "http://$READY_HOST/-/ready")" = 204 ]
}
