package main

import (
	"fmt"
	"strings"
)

// kinds of a set's objects, in the order of their documents.
var kinds = []struct{ collection, resource string }{
	{"/api/v1", "configmaps"},
	{"/api/v1", "serviceaccounts"},
	{"/api/v1", "services"},
	{"/apis/apps/v1", "deployments"},
}

// objectName is the name of all four objects of a set.
const objectName = "web"

// documents gives the four objects of one Application. No pods: replicas 0.
func documents(value string) []string {
	text := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  labels: {app: web, bench: tidelock}
data:
  value: %q
  server.properties: |
    listen=0.0.0.0:8080
    workers=4
    upstream.timeout=30s
    upstream.retries=3
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  labels: {app: web, bench: tidelock}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {app: web, bench: tidelock}
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: http}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web, bench: tidelock}
spec:
  replicas: 0
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web, bench: tidelock}
    spec:
      serviceAccountName: web
      containers:
        - name: web
          image: registry.corp.test/shop/web:1.4.2
          ports:
            - {name: http, containerPort: 8080}
          env:
            - {name: LOG_LEVEL, value: info}
            - name: POD_NAME
              valueFrom:
                fieldRef: {fieldPath: metadata.name}
          envFrom:
            - configMapRef: {name: web}
          resources:
            requests: {cpu: 50m, memory: 64Mi}
            limits: {memory: 128Mi}
          readinessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 5
`, value)
	return strings.Split(text, "---\n")
}

func namespaceOf(set string, index int) string { return fmt.Sprintf("bench-%s-%03d", set, index) }

func applicationName(index int) string { return fmt.Sprintf("web-%03d", index) }

func directoryOf(index int) string { return fmt.Sprintf("apps/%03d", index) }
