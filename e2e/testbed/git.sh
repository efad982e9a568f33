# The git server; see e2e/gitserver.
# shellcheck shell=bash

write_git_files() {
  mkdir -p "$STATE/git/repositories"
  (umask 077 && echo "$GIT_PASSWORD" >"$STATE/git/password")
  : >"$STATE/git/access.log"
  echo '[]' >"$STATE/git/faults.json"
  : >"$STATE/dns.log"
}

# Runs in the node.
start_git() {
  start git ip netns exec git "$GITSERVER" serve -root "$STATE/git/repositories" -http "$GIT_IP:80" -https "$GIT_IP:443" \
    -tls-certificate "$STATE/pki/git.crt" -tls-key "$STATE/pki/git.key" \
    -username "$GIT_USERNAME" -password-file "$STATE/git/password" \
    -access-log "$STATE/git/access.log" -control "$STATE/git/faults.json"
}
