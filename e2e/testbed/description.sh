# testbed.json: everything a test harness needs to know.
# shellcheck shell=bash

percent_encoded() { jq -rn --arg text "$1" '$text|@uri'; }

write_description() {
  local user password operator
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
    --arg demo "$DEMO_IMAGE" '{
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
      dns_log: "\($state)/dns.log", images: ["\($demo):1", "\($demo):2", "\($demo):3"]
    }' >"$STATE/testbed.json.new"
  mv "$STATE/testbed.json.new" "$STATE/testbed.json"
}
