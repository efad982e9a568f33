# etcd, API server and controller manager: what both modes have.
# shellcheck shell=bash

write_control_plane_files() {
  mkdir -p "$STATE/etcd"
  # Every request is counted by tests, so nothing is left out; a delete also shows its preconditions.
  cat >"$STATE/audit-policy.yaml" <<'EOF'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [delete, deletecollection]
- level: Metadata
EOF
}

start_control_plane() {
  local pki=$STATE/pki
  start etcd "$BIN/etcd" --name node --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster node=http://127.0.0.1:2380
  # One audit file whatever its size: rotation would hide requests from those who count them.
  start kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$NODE_IP" --service-cluster-ip-range="$SERVICE_NET" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-account.key" \
    --service-account-signing-key-file="$pki/service-account.key" \
    --audit-policy-file="$STATE/audit-policy.yaml" --audit-log-path="$STATE/audit.log" --audit-log-maxsize=65536
  until api_ready; do sleep 0.1; done
  # The rates make the ServiceAccounts, without which no pod can be created, appear in a second instead of five.
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$STATE/controller-manager.conf" --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --flex-volume-plugin-dir="$STATE/flex" --kube-api-qps=300 --kube-api-burst=600
}

# Works on the host and in the node.
api_ready() {
  curl -sfo /dev/null -m 2 --noproxy '*' --cacert "$STATE/pki/ca.crt" --cert "$STATE/pki/admin.crt" --key "$STATE/pki/admin.key" "$API_SERVER/readyz"
}

kubectl() { "$BIN/kubectl" --kubeconfig "$STATE/admin.conf" "$@"; }
