{{/* One installation serves a cluster, so names are fixed. */}}
{{- define "egress-tls-webhook.name" -}}egress-tls-webhook{{- end }}

{{- define "egress-tls-webhook.selectorLabels" -}}
app.kubernetes.io/name: egress-tls-webhook
{{- end }}

{{- define "egress-tls-webhook.labels" -}}
{{ include "egress-tls-webhook.selectorLabels" . }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "egress-tls-webhook.image" -}}
{{- with .Values.image -}}
{{- .repository -}}
{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{/* The mode of namespaces without a label. YAML reads an unquoted off as false. */}}
{{- define "egress-tls-webhook.mode" -}}
{{- if not (hasKey .Values.policy "mode") -}}enforce
{{- else if kindIs "bool" .Values.policy.mode -}}off
{{- else -}}{{ .Values.policy.mode }}
{{- end -}}
{{- end }}

{{/* The policy file. */}}
{{- define "egress-tls-webhook.policy" -}}
apiVersion: config.egress-tls.dev/v1alpha1
kind: EgressTLSPolicy
{{ mergeOverwrite (deepCopy .Values.policy) (dict "mode" (include "egress-tls-webhook.mode" .)) | toYaml }}
{{- end }}

{{/* What may be written: true or nothing. */}}
{{- define "egress-tls-webhook.writesRules" -}}
{{- if eq (.Values.policy.destinationRules | default "Create") "Create" }}true{{ end -}}
{{- end }}
{{- define "egress-tls-webhook.writesRoutes" -}}
{{- if and .Values.reconciler.enabled (eq (.Values.policy.headers | default "Inject") "Inject") }}true{{ end -}}
{{- end }}

{{- define "egress-tls-webhook.certManager" -}}
{{- if eq .Values.certificates.provider "cert-manager" }}true{{ end -}}
{{- end }}

{{/* The CA of the API server's client certificate: true or nothing. */}}
{{- define "egress-tls-webhook.clientVerification" -}}
{{- with .Values.webhooks.clientVerification -}}
{{- if or .secretName .configMapName }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* GOMEMLIMIT in bytes: 90 % of a memory limit, the rest is for what Go does not count. */}}
{{- define "egress-tls-webhook.goMemLimit" -}}
{{- $limit := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $limit -}}
{{- $bytes := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) $unit -}}
{{- mulf (trimSuffix $unit $limit | float64) $bytes 0.9 | int64 -}}
{{- end }}

{{/*
One entry of a webhook configuration, without name, path and failurePolicy.
The argument is a list: root context, path, operator and values for the label of the mode.
*/}}
{{- define "egress-tls-webhook.webhook" -}}
{{- $ := index . 0 -}}
{{- $mode := index . 2 -}}
{{- $exempt := concat (list "kube-system" $.Release.Namespace) (($.Values.policy.exemptions).namespaces | default list) | uniq -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: egress-tls-webhook
    namespace: {{ $.Release.Namespace }}
    path: {{ index . 1 }}
rules:
  - apiGroups: [networking.istio.io]
    # Equivalent: requests in v1alpha3 and v1beta1 are converted to v1.
    apiVersions: [v1]
    operations: [CREATE, UPDATE]
    resources: [serviceentries, virtualservices, destinationrules]
    scope: Namespaced
matchPolicy: Equivalent
timeoutSeconds: {{ $.Values.webhooks.timeoutSeconds }}
namespaceSelector:
  {{- with $.Values.webhooks.namespaceSelector.matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
    # Never in the way of what must start for us to run.
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ $exempt | toJson }}
    - key: egress-tls.dev/mode
      operator: {{ $mode.operator }}
      values: {{ $mode.values | toJson }}
    {{- with $.Values.webhooks.namespaceSelector.matchExpressions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- with $.Values.webhooks.objectSelector }}
objectSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchConditions:
  # Our own writes.
  - name: not-our-own
    expression: request.userInfo.username != "system:serviceaccount:{{ $.Release.Namespace }}:egress-tls-webhook"
  {{- with ($.Values.policy.exemptions).usernames }}
  - name: not-exempt
    expression: '!(request.userInfo.username in {{ toRawJson . | replace "'" "''" }})'
  {{- end }}
  {{- with $.Values.webhooks.matchConditions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Which namespaces are in mode enforce, by their label, as JSON. */}}
{{- define "egress-tls-webhook.enforced" -}}
{{- if eq (include "egress-tls-webhook.mode" .) "enforce" -}}
{{- dict "operator" "NotIn" "values" (list "warn" "audit" "off") | toJson -}}
{{- else -}}
{{- dict "operator" "In" "values" (list "enforce") | toJson -}}
{{- end -}}
{{- end }}

{{/* Which namespaces are only observed, in mode warn or audit, as JSON. */}}
{{- define "egress-tls-webhook.observed" -}}
{{- if has (include "egress-tls-webhook.mode" .) (list "warn" "audit") -}}
{{- dict "operator" "NotIn" "values" (list "enforce" "off") | toJson -}}
{{- else -}}
{{- dict "operator" "In" "values" (list "warn" "audit") | toJson -}}
{{- end -}}
{{- end }}

{{- define "egress-tls-webhook.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where the Pods run, from where they are pulled, and as whom they run. */}}
{{- define "egress-tls-webhook.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- end }}
