{{- /* What the schema can't say: values that are each valid and don't go together. */}}
{{- define "tidelock.checks" -}}
{{- $values := .Values }}
{{- if and (eq $values.rbac.mode "namespaced") (not $values.rbac.namespaces) }}
{{- fail "rbac.mode is `namespaced` and rbac.namespaces is empty: list the namespaces that may be deployed to" }}
{{- end }}
{{- if and $values.rbac.namespaces (ne $values.rbac.mode "namespaced") }}
{{- fail (printf "rbac.namespaces is for rbac.mode `namespaced`, and the mode is `%s`: set the mode, or take the list away" $values.rbac.mode) }}
{{- end }}
{{- if and $values.rbac.aggregate (eq $values.rbac.mode "namespaced") }}
{{- fail "rbac.aggregate makes ClusterRoles, and rbac.mode `namespaced` promises none: set rbac.aggregate to false" }}
{{- end }}
{{- if and $values.cache.existingClaim $values.cache.persistentVolumeClaim.enabled }}
{{- fail "cache.existingClaim and cache.persistentVolumeClaim.enabled are two ways to the same volume: choose one" }}
{{- end }}
{{- if and $values.cache.existingClaim (gt (int $values.replicas) 1) }}
{{- fail (printf "cache.existingClaim is one volume, and replicas is %d: each pod locks its cache for itself. Set replicas to 1, or take cache.persistentVolumeClaim.enabled, which makes a claim for each pod" (int $values.replicas)) }}
{{- end }}
{{- if and $values.egress.proxy.url (contains "@" $values.egress.proxy.url) }}
{{- fail "egress.proxy.url holds a user or password: put them into a Secret with the keys username and password, and its name into egress.proxy.existingSecret" }}
{{- end }}
{{- if and (not $values.egress.proxy.url) (or $values.egress.proxy.existingSecret $values.egress.proxy.caSecret $values.egress.proxy.clientCertificateSecret $values.egress.proxy.hosts $values.egress.proxy.noProxy) }}
{{- fail "egress.proxy is described and egress.proxy.url is empty: set it to something like http://proxy.example.com:3128" }}
{{- end }}
{{- if and $values.webhook.ingress.enabled (not $values.webhook.enabled) }}
{{- fail "webhook.ingress.enabled is set and webhook.enabled is not: there is nothing behind the Ingress" }}
{{- end }}
{{- if eq (int $values.webhook.port) (int $values.metrics.port) }}
{{- fail (printf "webhook.port and metrics.port are both %d: choose two ports" (int $values.metrics.port)) }}
{{- end }}
{{- if $values.fargate }}
{{- if ne (get (default dict $values.nodeSelector) "kubernetes.io/arch" | default "amd64") "amd64" }}
{{- fail "nodeSelector asks for another architecture than amd64, and Fargate has no other: leave kubernetes.io/arch out" }}
{{- end }}
{{- if $values.serviceAccount.podIdentity }}
{{- fail "serviceAccount.podIdentity needs an agent on the node, which Fargate has not: use IRSA (serviceAccount.annotations)" }}
{{- end }}
{{- if $values.cache.persistentVolumeClaim.enabled }}
{{- fail "cache.persistentVolumeClaim makes block volumes, which Fargate can't mount: leave it off, or with replicas 1 name a claim on EFS in cache.existingClaim" }}
{{- end }}
{{- $size := $values.cache.sizeLimit }}
{{- if or (regexMatch "(Ti|T|Pi|P)$" $size) (and (regexMatch "^[0-9]+(Gi|G)$" $size) (gt (int (regexFind "^[0-9]+" $size)) 20)) }}
{{- fail (printf "cache.sizeLimit is %s, and a pod on Fargate has 20Gi at most unless it asks for more" $size) }}
{{- end }}
{{- end }}
{{- range $values.repositories }}
{{- if and .proxy .direct }}{{ fail (printf "repositories: `%s` has both proxy and direct: choose one" .name) }}{{ end }}
{{- if eq (empty .url) (empty .urlPrefix) }}{{ fail (printf "repositories: `%s` needs either url (one repository) or urlPrefix (all repositories below it)" .name) }}{{ end }}
{{- end }}
{{- end }}
