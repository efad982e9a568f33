# Keys, certificates and kubeconfigs.
# shellcheck shell=bash

CERTIFICATE_DAYS=30

certificate_authority() { # certificate_authority NAME COMMON_NAME: NAME.crt and NAME.key in the current directory
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.crt" \
    -days "$CERTIFICATE_DAYS" -subj "/O=Tidelock test bed/CN=$2" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
}

certificate() { # certificate AUTHORITY NAME SUBJECT [ALTERNATIVE_NAMES]
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$2.key" -subj "$3" 2>/dev/null |
    openssl x509 -req -CA "$1.crt" -CAkey "$1.key" -days "$CERTIFICATE_DAYS" -set_serial "0x$(openssl rand -hex 8)" -out "$2.crt" \
      -extfile <(
        printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n'
        printf 'authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n'
        [ -z "${4:-}" ] || printf 'subjectAltName=%s\n' "$4"
      ) 2>/dev/null
}

kubeconfig() { # kubeconfig FILE CERTIFICATE
  local authority client key
  authority=$(base64 -w0 ca.crt) client=$(base64 -w0 "$2.crt") key=$(base64 -w0 "$2.key")
  (
    umask 077
    cat >"$1" <<EOF
{"apiVersion": "v1", "kind": "Config", "current-context": "tidelock",
 "clusters": [{"name": "tidelock", "cluster": {"server": "$API_SERVER", "certificate-authority-data": "$authority"}}],
 "users": [{"name": "$2", "user": {"client-certificate-data": "$client", "client-key-data": "$key"}}],
 "contexts": [{"name": "tidelock", "context": {"cluster": "tidelock", "user": "$2"}}]}
EOF
  )
}

write_identities() {
  mkdir -p "$STATE/pki"
  cd "$STATE/pki"
  certificate_authority ca "Kubernetes CA"
  openssl genrsa -out service-account.key 2048 2>/dev/null
  certificate ca apiserver /CN=kube-apiserver "IP:$NODE_IP,IP:127.0.0.1,IP:$API_SERVICE_IP,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate ca kubelet-server "/CN=$NODE_NAME" "IP:$NODE_IP,DNS:$NODE_NAME"
  certificate ca admin /O=system:masters/CN=admin
  certificate ca operator "/CN=$OPERATOR_USER"
  certificate ca kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
  certificate ca controller-manager /CN=system:kube-controller-manager
  certificate ca scheduler /CN=system:kube-scheduler
  certificate ca kube-proxy /CN=system:kube-proxy
  local user
  for user in admin operator kubelet controller-manager scheduler kube-proxy; do kubeconfig "$STATE/$user.conf" "$user"; done

  certificate_authority git-ca "Git CA"
  certificate git-ca git /CN=$GIT_HOST "DNS:$GIT_HOST,DNS:$GIT_MIRROR_HOST,IP:$GIT_IP"
  local host names="DNS:$GIT_HOST"
  for host in "${OUTSIDE_HOSTS[@]}"; do names+=",DNS:$host"; done
  certificate git-ca outside "/CN=$NGINX_HOST" "$names"
  certificate_authority interception-ca "Interception CA"
  certificate_authority proxy-tls-ca "Proxy CA"
  certificate proxy-tls-ca proxy "/CN=$PROXY_HOST" "DNS:$PROXY_HOST,IP:$PROXY_IP"
  certificate proxy-tls-ca proxy-other "/CN=other.corp.test" "DNS:other.corp.test"
  certificate_authority client-ca "Client CA"
  certificate client-ca client "/CN=$OPERATOR_USER"
  cd /
}
