# testbed.json: everything a test harness needs to know.
# shellcheck shell=bash

percent_encoded() { jq -rn --arg text "$1" '$text|@uri'; }

write_description() {
  local user password operator modes
  modes=$("$GITSERVER" misbehave -list -address "$PROXY_IP" -base "$MISBEHAVE_PORT")
  user=$(percent_encoded "$PROXY_USERNAME") password=$(percent_encoded "$PROXY_PASSWORD")
  operator=$(operator_pid)
  jq -n \
    --arg state "$STATE" --arg mode "$MODE" --arg bin "$BIN" --arg testbed "$TESTBED" --arg operator "$operator" \
    --arg operator_user "$OPERATOR_USER" --arg operator_ip "$OPERATOR_IP" --arg blackhole "$BLACKHOLE_IP" \
    --arg api "$API_SERVER" --arg proxy "http://$PROXY_IP" --arg proxy_auth "http://$user:$password@$PROXY_IP" \
    --arg port "$PROXY_PORT" --arg intercept_port "$PROXY_INTERCEPT_PORT" --arg open_port "$PROXY_OPEN_PORT" \
    --arg proxy_username "$PROXY_USERNAME" --arg proxy_password "$PROXY_PASSWORD" \
    --arg git "$GIT_HOST" --arg mirror "$GIT_MIRROR_HOST" --arg git_username "$GIT_USERNAME" --arg git_password "$GIT_PASSWORD" \
    --arg unknown "$UNKNOWN_HOST" --arg silent "$SILENT_HOST" --arg wrong_name "$WRONG_NAME_HOST" --arg forbidden "$FORBIDDEN_HOST" \
    --arg tls_port "$PROXY_TLS_PORT" --arg mutual_port "$PROXY_MUTUAL_TLS_PORT" --arg proxy_ip "$PROXY_IP" --arg tiny_port "$TINYPROXY_PORT" \
    --arg tiny_password "$TINYPROXY_PASSWORD" --arg socks_port "$SOCKS_PORT" --arg socks_password_port "$SOCKS_PASSWORD_PORT" \
    --arg gitserver "$GITSERVER" --argjson modes "$modes" --arg no_route "$NO_ROUTE_IP" --arg unreachable "$UNREACHABLE_IP" \
    --arg ssh "$SSH_HOST" --arg alternative_ssh "$ALTERNATIVE_SSH_HOST" --arg nginx "$NGINX_HOST" --arg nginx_other "$NGINX_OTHER_HOST" \
    --arg mtls "$MUTUAL_TLS_HOST" --arg registry "$REGISTRY_HOST" --arg registry_login "$REGISTRY_LOGIN_HOST" \
    --arg registry_redirect "$REGISTRY_REDIRECT_HOST" --arg registry_mtls "$REGISTRY_MUTUAL_TLS_HOST" --arg blobs "$BLOBS_HOST" \
    --arg charts "$CHARTS_HOST" --arg charts_login "$CHARTS_LOGIN_HOST" \
    --arg demo "$DEMO_IMAGE" --arg image_registry "$IMAGE_REGISTRY" --arg proxy_host "$PROXY_HOST" '{
      state: $state, mode: $mode, bin: $bin, testbed: $testbed,
      api_server: $api,
      kubeconfig: "\($state)/admin.conf",
      operator_kubeconfig: "\($state)/operator.conf", operator_user: $operator_user,
      operator_netns: ["nsenter", "-t", $operator, "-m", "-n", "--"], operator_address: $operator_ip,
      audit_log: "\($state)/audit.log",
      proxy_url: "\($proxy):\($port)", proxy_intercept_url: "\($proxy):\($intercept_port)", proxy_open_url: "\($proxy):\($open_port)",
      proxy_closed_url: "\($proxy):3199", proxy_silent_url: "http://\($blackhole):3128",
      proxy_url_with_credentials: "\($proxy_auth):\($port)",
      proxy_ca: "\($state)/pki/interception-ca.crt",
      proxy_username: $proxy_username, proxy_password: $proxy_password,
      proxy_access_log: "\($state)/squid/access.log",
      git_http_url: "http://\($git)", git_https_url: "https://\($git)",
      mirror_http_url: "http://\($mirror)", mirror_https_url: "https://\($mirror)",
      git_ca: "\($state)/pki/git-ca.crt", git_root: "\($state)/git/repositories",
      git_access_log: "\($state)/git/access.log", git_control: "\($state)/git/faults.json",
      git_username: $git_username, git_password: $git_password,
      unknown_host: $unknown, silent_host: $silent, wrong_name_host: $wrong_name, forbidden_host: $forbidden,
      proxy_tls_url: "https://\($proxy_ip):\($tls_port)", proxy_mutual_tls_url: "https://\($proxy_ip):\($mutual_port)",
      proxy_tls_ca: "\($state)/pki/proxy-tls-ca.crt",
      client_certificate: "\($state)/pki/client.crt", client_key: "\($state)/pki/client.key", client_ca: "\($state)/pki/client-ca.crt",
      tinyproxy_url: "\($proxy):\($tiny_port)", tinyproxy_password: $tiny_password, tinyproxy_log: "\($state)/proxies/tinyproxy.log",
      socks_url: "socks5h://\($proxy_ip):\($socks_port)", socks_password_url: "socks5h://\($proxy_ip):\($socks_password_port)",
      socks_log: "\($state)/log/socks.log", socks_password_log: "\($state)/log/socks-password.log",
      gitserver: $gitserver, misbehave: $modes, misbehave_log: "\($state)/proxies/misbehave.log", misbehave_control: "\($state)/proxies/misbehave.json",
      no_route_address: $no_route, unreachable_address: $unreachable, black_hole_address: "203.0.113.7",
      ssh_host: $ssh, alternative_ssh_host: $alternative_ssh, ssh_directory: "\($state)/ssh", ssh_known_hosts: "\($state)/ssh/known_hosts",
      ssh_access_log: "\($state)/ssh/access.log",
      nginx_host: $nginx, nginx_other_host: $nginx_other, mutual_tls_host: $mtls, nginx_access_log: "\($state)/nginx/access.log",
      registry_host: $registry, registry_login_host: $registry_login, registry_redirect_host: $registry_redirect,
      registry_mutual_tls_host: $registry_mtls, blobs_host: $blobs,
      charts_host: $charts, charts_login_host: $charts_login, charts_root: "\($state)/charts",
      image_registry: $image_registry, proxy_host_url: "http://\($proxy_host):\($port)",
      dns_log: "\($state)/dns.log", images: ["\($demo):1", "\($demo):2", "\($demo):3"]
    }' >"$STATE/testbed.json.new"
  mv "$STATE/testbed.json.new" "$STATE/testbed.json"
}
