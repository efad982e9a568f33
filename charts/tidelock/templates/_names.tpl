{{- define "tidelock.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains "tidelock" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}{{ printf "%s-tidelock" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Name of cluster-scoped objects, which releases of the same name in two namespaces must not share. */}}
{{- define "tidelock.clusterName" -}}
{{ include "tidelock.name" . }}-{{ .Release.Namespace }}
{{- end }}

{{- define "tidelock.selector" -}}
app.kubernetes.io/name: tidelock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidelock.labels" -}}
{{ include "tidelock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels of what is not a controller's pod but belongs to the release: no selector may match it. */}}
{{- define "tidelock.testLabels" -}}
app.kubernetes.io/name: tidelock-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The key `annotations` with the common ones and those of .own, or nothing. */}}
{{- define "tidelock.annotations" -}}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (default dict .own) -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tidelock.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else if .Values.serviceAccount.create }}{{ include "tidelock.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "tidelock.image" -}}
{{- $image := .Values.image }}
{{- $first := first (splitList "/" $image.repository) }}
{{- if and (contains "/" $image.repository) (or (contains "." $first) (contains ":" $first)) }}
{{- fail (printf "image.repository is `%s`, which begins with a host: put `%s` into image.registry (or global.imageRegistry) and the rest into image.repository" $image.repository $first) }}
{{- end }}
{{- with (default $image.registry .Values.global.imageRegistry) }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- /* Port of a URL, by its scheme where it says none. Takes a dict of url and ports by scheme. */}}
{{- define "tidelock.portOfUrl" -}}
{{- $parts := urlParse .url }}
{{- $port := regexFind ":[0-9]+$" $parts.host }}
{{- if $port }}{{ trimPrefix ":" $port }}{{ else }}{{ get .ports $parts.scheme }}{{ end }}
{{- end }}

{{- /* The network of one address when a URL has an address for a host, else nothing. */}}
{{- define "tidelock.addressOfUrl" -}}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse .).host "" }}
{{- if regexMatch "^[0-9]{1,3}([.][0-9]{1,3}){3}$" $host }}{{ $host }}/32{{ else if hasPrefix "[" $host }}{{ trimSuffix "]" (trimPrefix "[" $host) }}/128{{ end }}
{{- end }}

{{- /* Names of the Secrets that the controller reads: those that values name, each once. JSON list. */}}
{{- define "tidelock.secretNames" -}}
{{- $names := list "tidelock-store-key" }}
{{- with .Values.egress.proxy }}{{ if .url }}{{ $names = concat $names (list .existingSecret .caSecret .clientCertificateSecret) }}{{ end }}{{ end }}
{{- range .Values.repositories }}
{{- $names = concat $names (list (default "" .existingSecret) (default "" .caSecret)) }}
{{- range $field, $reference := default dict .spec }}{{ if hasSuffix "SecretRef" $field }}{{ $names = append $names (default "" $reference.name) }}{{ end }}{{ end }}
{{- end }}
{{- if .Values.webhook.enabled }}{{ $names = append $names .Values.webhook.existingSecret }}{{ end }}
{{- concat $names .Values.rbac.secretNames | compact | uniq | sortAlpha | toJson }}
{{- end }}

{{- define "tidelock.scraped" -}}
{{- if and .Values.metrics.scrapeAnnotations (not .Values.metrics.serviceMonitor.enabled) (not .Values.metrics.podMonitor.enabled) }}true{{ end }}
{{- end }}
