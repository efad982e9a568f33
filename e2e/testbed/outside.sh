# What lies behind the proxies besides the git server of e2e/gitserver: nginx with git's own CGI program, an SSH server, a
# registry, a chart repository. All read the same bare repositories.
# shellcheck shell=bash

write_outside_files() {
  write_nginx_files
  write_registry_files
}

start_outside() { start_sshd && start_registry && start_nginx; }

# ------------------------------------------------------------------ SSH

write_ssh_files() {
  local directory=$STATE/ssh kind
  mkdir -p "$directory"
  for kind in ed25519 ecdsa; do
    ssh-keygen -q -t "$kind" -N '' -C test-bed -f "$directory/host_$kind"
    ssh-keygen -q -t "$kind" -N '' -C test-bed -f "$directory/client_$kind"
  done
  for kind in host client; do ssh-keygen -q -t rsa -b 2048 -N '' -C test-bed -f "$directory/${kind}_rsa"; done
  ssh-keygen -q -t ed25519 -N '' -C stranger -f "$directory/stranger"
  cat "$directory"/client_*.pub >"$directory/authorized_keys"
  local host
  for host in "$SSH_HOST" "$ALTERNATIVE_SSH_HOST" "[$SSH_HOST]:443" "[$ALTERNATIVE_SSH_HOST]:443"; do
    for kind in ed25519 ecdsa rsa; do echo "$host $(cut -d' ' -f1,2 "$directory/host_$kind.pub")"; done
  done >"$directory/known_hosts"
  # A user of the server's own, whom the machine does not know.
  { cat /etc/passwd && echo "git:x:0:0:git:$directory:/bin/sh"; } >"$directory/passwd"
  : >"$directory/access.log"
  cat >"$directory/serve" <<EOF
#!/bin/bash
# Every login ends here: git-upload-pack of a bare repository, and nothing else.
command=\${SSH_ORIGINAL_COMMAND:-}
path=\${command#git-upload-pack \\'}
path=\${path%\\'}
printf '{"time": "%s", "client": "%s", "command": "%s", "git_protocol": "%s"}\\n' "\$(date -u +%FT%T.%6NZ)" "\${SSH_CONNECTION%% *}" "\${command//\\"/}" "\${GIT_PROTOCOL:-}" >>$directory/access.log
case "\$command" in
  "git-upload-pack '"*"'") ;;
  *) echo "test bed: only git-upload-pack is served" >&2; exit 128 ;;
esac
case "\$path" in *..*) echo "test bed: not a repository: \$path" >&2; exit 128 ;; esac
export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=uploadpack.allowAnySHA1InWant GIT_CONFIG_VALUE_1=true GIT_CONFIG_KEY_2=uploadpack.allowFilter GIT_CONFIG_VALUE_2=true
exec git-upload-pack "$STATE/git/repositories/\${path#/}"
EOF
  chmod 755 "$directory/serve"
  cat >"$directory/sshd_config" <<EOF
ListenAddress $SSH_IP:22
ListenAddress $SSH_IP:443
HostKey $directory/host_ed25519
HostKey $directory/host_ecdsa
HostKey $directory/host_rsa
AuthorizedKeysFile $directory/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
AcceptEnv GIT_PROTOCOL
ForceCommand $directory/serve
DisableForwarding yes
PermitTTY no
PidFile none
MaxStartups 100
LogLevel VERBOSE
EOF
}

# Runs in the node.
start_sshd() {
  mkdir -p /run/sshd
  # shellcheck disable=SC2016
  start sshd ip netns exec git bash -c 'mount --bind "$1/passwd" /etc/passwd && exec /usr/sbin/sshd -D -e -f "$1/sshd_config"' sshd "$STATE/ssh"
}

# ------------------------------------------------------------------ registry

write_registry_files() {
  local directory=$STATE/registry
  mkdir -p "$directory/data"
  cat >"$directory/config.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $directory/data, maxthreads: 100}
  delete: {enabled: true}
http: {addr: "127.0.0.1:5000", relativeurls: true, secret: test-bed}
EOF
}

# Runs in the node.
start_registry() { start registry ip netns exec git env OTEL_TRACES_EXPORTER=none docker-registry serve "$STATE/registry/config.yml"; }

# ------------------------------------------------------------------ nginx

write_nginx_files() {
  local directory=$STATE/nginx tls backend
  mkdir -p "$directory/temporary" "$STATE/charts"
  htpasswd -icm "$directory/users" "$GIT_USERNAME" 2>/dev/null <<<"$GIT_PASSWORD"
  : >"$directory/access.log"
  backend=$(git --exec-path)/git-http-backend
  tls="ssl_certificate $STATE/pki/outside.crt; ssl_certificate_key $STATE/pki/outside.key;"
  # git's own program by CGI; $1 is the path of the repository below the root.
  cat >"$directory/git.conf" <<EOF
include $directory/git-common.conf;
fastcgi_param GIT_PROTOCOL \$http_git_protocol;
EOF
  cat >"$directory/git-common.conf" <<EOF
fastcgi_param SCRIPT_FILENAME $backend;
fastcgi_param GIT_PROJECT_ROOT $STATE/git/repositories;
fastcgi_param GIT_HTTP_EXPORT_ALL 1;
fastcgi_param PATH_INFO /\$1;
fastcgi_param QUERY_STRING \$query_string;
fastcgi_param REQUEST_METHOD \$request_method;
fastcgi_param CONTENT_TYPE \$content_type;
fastcgi_param CONTENT_LENGTH \$content_length;
fastcgi_param REMOTE_USER \$remote_user;
fastcgi_param HTTP_CONTENT_ENCODING \$http_content_encoding;
fastcgi_param GIT_CONFIG_NOSYSTEM 1;
fastcgi_param GIT_CONFIG_GLOBAL /dev/null;
fastcgi_param GIT_CONFIG_COUNT 3;
fastcgi_param GIT_CONFIG_KEY_0 safe.directory;
fastcgi_param GIT_CONFIG_VALUE_0 "*";
fastcgi_param GIT_CONFIG_KEY_1 uploadpack.allowAnySHA1InWant;
fastcgi_param GIT_CONFIG_VALUE_1 true;
fastcgi_param GIT_CONFIG_KEY_2 uploadpack.allowFilter;
fastcgi_param GIT_CONFIG_VALUE_2 true;
fastcgi_pass unix:$directory/fcgiwrap.socket;
EOF
  cat >"$directory/registry.conf" <<EOF
client_max_body_size 0;
proxy_request_buffering off;
proxy_set_header Host \$http_host;
proxy_set_header X-Forwarded-Proto \$scheme;
proxy_pass http://127.0.0.1:5000;
EOF
  cat >"$directory/nginx.conf" <<EOF
user root;
daemon off;
worker_processes 1;
pid $directory/nginx.pid;
error_log $STATE/log/nginx-error.log warn;
events { worker_connections 1024; }
http {
  log_format json escape=json '{"time": "\$time_iso8601", "scheme": "\$scheme", "host": "\$host", "method": "\$request_method", "path": "\$uri", '
    '"query": "\$args", "status": \$status, "bytes": \$body_bytes_sent, "user": "\$remote_user", "authorization": "\$has_authorization", '
    '"client_certificate": "\$ssl_client_s_dn", "git_protocol": "\$http_git_protocol", "via": "\$http_via"}';
  map \$http_authorization \$has_authorization { "" "no"; default "yes"; }
  access_log $directory/access.log json;
  client_body_temp_path $directory/temporary/body; proxy_temp_path $directory/temporary/proxy; fastcgi_temp_path $directory/temporary/fastcgi;
  uwsgi_temp_path $directory/temporary/uwsgi; scgi_temp_path $directory/temporary/scgi;
  client_max_body_size 64m;
  default_type application/octet-stream;
  types { text/html html; application/gzip tgz; text/yaml yaml; }
  ssl_protocols TLSv1.2 TLSv1.3;

  server {
    listen $NGINX_IP:80; listen $NGINX_IP:443 ssl; $tls
    server_name $NGINX_HOST $NGINX_OTHER_HOST;
    location ~ ^/open/(.*)\$ { include $directory/git.conf; }
    location ~ ^/login/(.*)\$ { auth_basic git; auth_basic_user_file $directory/users; include $directory/git.conf; }
    # As a front end that does not know the header: no protocol v2.
    location ~ ^/v0/(.*)\$ { include $directory/git-common.conf; }
    location ~ ^/moved/(.*)\$ { return 301 \$scheme://$NGINX_OTHER_HOST/open/\$1\$is_args\$args; }
    location ~ ^/moved-login/(.*)\$ { auth_basic git; auth_basic_user_file $directory/users; return 301 \$scheme://$NGINX_OTHER_HOST/login/\$1\$is_args\$args; }
    location ~ ^/renamed/(.*)\$ { return 301 \$scheme://\$host/open/\$1\$is_args\$args; }
    location ~ ^/downgrade/(.*)\$ { return 301 http://\$host/open/\$1\$is_args\$args; }
    location ~ ^/upgrade/(.*)\$ { return 301 https://\$host/open/\$1\$is_args\$args; }
    location ~ ^/loop/(.*)\$ { return 302 \$scheme://\$host/loop/\$1\$is_args\$args; }
    location ~ ^/file/(.*)\$ { return 302 file:///etc/hostname; }
    location ~ ^/page/(.*)\$ { default_type text/html; return 200 "<!DOCTYPE html><html><body>Please log in to the portal</body></html>"; }
  }
  server {
    listen $MUTUAL_TLS_IP:443 ssl; $tls
    server_name $MUTUAL_TLS_HOST;
    ssl_client_certificate $STATE/pki/client-ca.crt; ssl_verify_client on;
    location ~ ^/open/(.*)\$ { include $directory/git.conf; }
  }
  server {
    listen $REGISTRY_IP:80 default_server; listen $REGISTRY_IP:443 ssl default_server; $tls
    server_name $REGISTRY_HOST;
    location /v2/ { include $directory/registry.conf; }
  }
  server {
    listen $REGISTRY_IP:80; listen $REGISTRY_IP:443 ssl; $tls
    server_name $REGISTRY_LOGIN_HOST;
    auth_basic registry; auth_basic_user_file $directory/users;
    location /v2/ { include $directory/registry.conf; proxy_set_header Authorization ""; }
  }
  # A registry whose layers lie elsewhere, as in object stores: there, credentials are refused.
  server {
    listen $REGISTRY_IP:80; listen $REGISTRY_IP:443 ssl; $tls
    server_name $REGISTRY_REDIRECT_HOST;
    auth_basic registry; auth_basic_user_file $directory/users;
    location ~ ^/v2/.+/blobs/sha256:[0-9a-f]+\$ { return 307 \$scheme://$BLOBS_HOST\$request_uri; }
    location /v2/ { include $directory/registry.conf; proxy_set_header Authorization ""; }
  }
  server {
    listen $REGISTRY_IP:80; listen $REGISTRY_IP:443 ssl; $tls
    server_name $BLOBS_HOST;
    if (\$http_authorization) { return 400 "only one way to authenticate is allowed\n"; }
    location /v2/ { limit_except GET HEAD { deny all; } include $directory/registry.conf; }
  }
  server {
    listen $REGISTRY_MUTUAL_TLS_IP:443 ssl; $tls
    server_name $REGISTRY_MUTUAL_TLS_HOST;
    ssl_client_certificate $STATE/pki/client-ca.crt; ssl_verify_client on;
    location /v2/ { include $directory/registry.conf; }
  }
  # Helm repositories: whatever lies in the directory. Below /elsewhere/ the packages lie on another host.
  server {
    listen $REGISTRY_IP:80; listen $REGISTRY_IP:443 ssl; $tls
    server_name $CHARTS_HOST;
    root $STATE/charts;
    location /elsewhere/ { rewrite ^/elsewhere/(.*)\$ /\$1 break; location ~ [.]tgz\$ { return 302 \$scheme://$NGINX_OTHER_HOST\$request_uri; } }
  }
  server {
    listen $REGISTRY_IP:80; listen $REGISTRY_IP:443 ssl; $tls
    server_name $CHARTS_LOGIN_HOST;
    root $STATE/charts;
    auth_basic charts; auth_basic_user_file $directory/users;
  }
}
EOF
}

# Runs in the node.
start_nginx() {
  rm -f "$STATE/nginx/fcgiwrap.socket"
  start fcgiwrap ip netns exec git fcgiwrap -f -c 4 -s "unix:$STATE/nginx/fcgiwrap.socket"
  start nginx ip netns exec git nginx -e "$STATE/log/nginx-error.log" -c "$STATE/nginx/nginx.conf"
}
