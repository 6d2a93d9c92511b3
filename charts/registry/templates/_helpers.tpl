{{- define "registry.selector" -}}
app.kubernetes.io/name: registry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry.labels" -}}
{{ include "registry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "registry.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The name by which components and nodes know the registry. */}}
{{- define "registry.host" -}}
registry.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "registry.tlsSecret" -}}
{{ .Values.tls.existingSecret | default "registry-tls" }}
{{- end }}

{{- define "registry.usersSecret" -}}
{{ .Values.users.existingSecret | default "registry-users" }}
{{- end }}

{{- define "registry.metricsSecret" -}}
{{ .Values.podMonitor.basicAuthSecret | default "registry-user-metrics" }}
{{- end }}

{{- /*
The configuration: what the Pod has fixed, and the values over it. Its ports are bound to the address of the node. The
sections of other modes are left out, so that one value changes the mode.
*/}}
{{- define "registry.config" -}}
{{- $tls := dict "certificate" "/etc/registry/tls/tls.crt" "key" "/etc/registry/tls/tls.key" -}}
{{- $names := list (printf "%s:5001" (include "registry.host" .)) -}}
{{- $server := dict "listen" "127.0.0.1:5001" "admin" "127.0.0.1:5002" "names" $names "tls" $tls "adminTLS" $tls -}}
{{- $roles := dict "ro" (list "pull") "rw" (list "pull" "push" "delete") "metrics" (list "metrics") -}}
{{- $users := dict "file" "/etc/registry/users/htpasswd" "roles" $roles -}}
{{- $storage := dict -}}
{{- if dig "storage" "s3" false .Values.config -}}
  {{- $storage = dict "s3" (dict "spool" (printf "%s/.registry" .Values.storage.hostPath)) -}}
{{- else -}}
  {{- $storage = dict "filesystem" (dict "root" .Values.storage.hostPath) -}}
{{- end -}}
{{- $fixed := dict "server" $server "storage" $storage "auth" (dict "users" $users) -}}
{{- $config := mergeOverwrite (deepCopy $fixed) (deepCopy .Values.config) -}}
{{- range $section := list "direct" "proxy" -}}
  {{- if ne $section (lower $config.registry.mode) }}{{ $_ := unset $config.registry $section }}{{ end -}}
{{- end -}}
{{- toYaml $config }}
{{- end }}

{{- /* The addresses of the nodes that run the registry, as a list in JSON. A Pod has the first one of its node. */}}
{{- define "registry.addresses" -}}
{{- $addresses := .Values.addresses -}}
{{- if not $addresses -}}
  {{- $wanted := .Values.nodeSelector -}}
  {{- range (lookup "v1" "Node" "" "").items -}}
    {{- $labels := .metadata.labels -}}
    {{- $fits := true -}}
    {{- range $key, $value := $wanted -}}
      {{- if not (and (hasKey $labels $key) (eq (get $labels $key) $value)) }}{{ $fits = false }}{{ end -}}
    {{- end -}}
    {{- if $fits -}}
      {{- $first := "" -}}
      {{- range .status.addresses -}}
        {{- if and (eq .type "InternalIP") (not $first) }}{{ $first = .address }}{{ end -}}
      {{- end -}}
      {{- if $first }}{{ $addresses = append $addresses $first }}{{ end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toJson ($addresses | uniq | sortAlpha) }}
{{- end }}

{{- /* A command that prints the password of a user. */}}
{{- define "registry.passwordCommand" -}}
{{- if .root.Values.users.existingSecret -}}
cat PASSWORD-FILE
{{- else -}}
kubectl -n {{ .root.Release.Namespace }} get secret registry-user-{{ .name }} -o go-template='{{ "{{.data.password|base64decode}}" }}'
{{- end }}
{{- end }}

{{- define "registry.agentSelector" -}}
app.kubernetes.io/name: registry-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry.agentLabels" -}}
{{ include "registry.agentSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* The names that the agent serves, as a list in JSON: of the registry, and of its further upstreams. */}}
{{- define "registry.agentNames" -}}
{{- $own := dig "server" "names" (list (printf "%s:5001" (include "registry.host" .))) .Values.config -}}
{{- toJson (concat $own (keys (dig "registry" "upstreams" dict .Values.config) | sortAlpha)) }}
{{- end }}

{{- define "registry.agentConfig" -}}
{{- $replicas := list -}}
{{- range include "registry.addresses" . | fromJsonArray -}}
  {{- $replicas = append $replicas (dict "address" (printf (ternary "[%s]:5001" "%s:5001" (contains ":" .)) .)) -}}
{{- end -}}
{{- $access := dict "caFile" "/etc/registry/access/ca.crt" "username" .Values.agent.username "passwordFile" "/etc/registry/access/password" -}}
{{- $pool := merge (dict "replicas" $replicas "scheme" "HTTPS") $access -}}
{{- $route := dict "names" (include "registry.agentNames" . | fromJsonArray) "pools" (list $pool) -}}
{{- $path := dig "server" "path" "system/deckhouse" .Values.config -}}
{{- toYaml (dict "agent" (dict "listen" "127.0.0.1:5001" "admin" "127.0.0.1:5003" "routes" (list $route) "path" $path)) }}
{{- end }}
