{{- define "serin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is appended to it. */}}
{{- define "serin.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "serin.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "serin.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* These must never change: a Deployment's selector cannot. */}}
{{- define "serin.selector" -}}
app.kubernetes.io/name: {{ include "serin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "serin.labels" -}}
{{ include "serin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "serin.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "serin.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is the account to use where none is created" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "serin.secret" -}}
{{- default (printf "%s-secret" (include "serin.fullname" .)) .Values.secret.existing }}
{{- end }}

{{/* What goes together only in one way. */}}
{{- define "serin.check" -}}
{{- if and .Values.hostPorts.enabled (ne .Values.kind "DaemonSet") }}
{{- fail "hostPorts need kind: DaemonSet, because two pods with the same port do not fit on one node" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (ne .Values.kind "Deployment") }}
{{- fail "autoscaling needs kind: Deployment, because a DaemonSet has one pod on each node" }}
{{- end }}
{{- end }}

{{/* What Serin reads at the start: what the chart says, and over it `config`. */}}
{{- define "serin.config" -}}
{{- $name := include "serin.fullname" . }}
{{- $own := printf "%s/%s" .Release.Namespace $name }}
{{- $kubernetes := dict "ingress_class" .Values.ingressClass.name "controller" .Values.ingressClass.controller "lease" $own }}
{{- if .Values.gateway.enabled }}
{{- $_ := set $kubernetes "gateway_controller" .Values.gateway.controller }}
{{- $_ := set $kubernetes "gateway_ports" (dict "80" 8080 "443" 8443) }}
{{- end }}
{{- with .Values.namespaces }}{{ $_ := set $kubernetes "namespaces" . }}{{ end }}
{{- with .Values.configMaps }}{{ $_ := set $kubernetes "config_maps" . }}{{ end }}
{{- if .Values.addresses }}
{{- $_ := set $kubernetes "addresses" .Values.addresses }}
{{- else if and .Values.service.enabled (eq .Values.service.type "LoadBalancer") }}
{{- $_ := set $kubernetes "publish_service" $own }}
{{- end }}
{{- $sources := dict "kubernetes" $kubernetes }}
{{- if .Values.rules }}{{ $_ := set $sources "files" (list "rules.yaml") }}{{ end }}
{{- $config := dict
      "admin" (dict "address" "[::]:9900")
      "state_dir" "/var/lib/serin"
      "secret_file" "/etc/serin-secret/secret"
      "access_log" (dict "to" "stdout")
      "shutdown" (dict "delay" (printf "%ds" (int .Values.shutdown.delaySeconds)) "deadline" (printf "%ds" (int .Values.shutdown.deadlineSeconds)))
      "sources" $sources }}
{{- if not .Values.gateway.enabled }}
{{- $_ := set $config "listeners" (dict "web" (dict "address" "[::]:8080") "secure" (dict "address" "[::]:8443" "tls" dict)) }}
{{- end }}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) }}
{{- end }}
