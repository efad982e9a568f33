# What runs pods: scheduler, containerd, kubelet, kube-proxy, CoreDNS.
# shellcheck shell=bash

write_pod_files() {
  write_image_registry_files
  mkdir -p "$STATE"/{containerd,pod-logs,cni,cni-addresses,flex,registries,manifests}
  cat >"$STATE/containerd.toml" <<EOF
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]   # would create /opt/containerd
root = "$STATE/containerd"
state = "/run/containerd"
[grpc]
  address = "$CONTAINERD_SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true   # root may lack CAP_SYS_RESOURCE
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$STATE/registries"
EOF
  cat >"$STATE/cni/10-bridge.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "bridge", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$STATE/cni-addresses", "ranges": [[{"subnet": "$POD_NET"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
  echo "nameserver $NODE_IP" >"$STATE/resolv.conf"
  # failCgroupV1: without it a kubelet of 1.35 refuses a machine with cgroup v1.
  # imagePullCredentialsVerificationPolicy: else an imported image whose bytes were once pulled is pulled again by name.
  # clusterDNS: CoreDNS is a process of the node, so no Service is needed for it.
  cat >"$STATE/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/kubelet-server.crt
tlsPrivateKeyFile: $STATE/pki/kubelet-server.key
clusterDNS: [$NODE_IP]
clusterDomain: cluster.local
resolvConf: $STATE/resolv.conf
podLogsDir: $STATE/pod-logs
staticPodPath: $STATE/manifests
volumePluginDir: $STATE/flex
maxPods: 250
kubeAPIQPS: 300
kubeAPIBurst: 600
failSwapOn: false
seccompDefault: true
imagePullCredentialsVerificationPolicy: NeverVerify
serializeImagePulls: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
syncFrequency: 10s
EOF
  # conntrack 0: the machine's own limits are left alone.
  cat >"$STATE/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_NET
hostnameOverride: $NODE_NAME
clientConnection: {kubeconfig: $STATE/kube-proxy.conf}
conntrack: {maxPerCore: 0, min: 0}
EOF
  # Pods resolve cluster names, the proxy's name and what else is put into this file (read again every second); anything
  # else is refused.
  echo "$PROXY_IP $PROXY_HOST" >"$STATE/pod-hosts"
  cat >"$STATE/Corefile" <<EOF
.:53 {
  bind $NODE_IP
  errors
  cache 5
  hosts $STATE/pod-hosts {
    reload 1s
    fallthrough
  }
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $STATE/admin.conf
  }
}
EOF
}

start_pods() {
  start containerd "$CONTAINERD" -c "$STATE/containerd.toml"
  start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$STATE/scheduler.conf" --leader-elect=false --kube-api-qps=300 --kube-api-burst=600
  until import_image "$IMAGES/pause.tar" >>"$STATE/log/import.log" 2>&1; do sleep 0.1; done
  start kubelet "$BIN/kubelet" --config="$STATE/kubelet.yaml" --kubeconfig="$STATE/kubelet.conf" --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
  start kube-proxy "$BIN/kube-proxy" --config="$STATE/kube-proxy.yaml"
  start_image-registry
  start coredns "$BIN/coredns" -conf "$STATE/Corefile"
  local version
  for version in "${DEMO_VERSIONS[@]}"; do import_image "$IMAGES/demo-$version.tar" >>"$STATE/log/import.log"; done
}

# Runs in the node.
import_image() { "$CTR" -a "$CONTAINERD_SOCKET" -n k8s.io images import "$1"; }

node_ready() {
  [ "$(kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]
}
