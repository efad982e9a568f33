//! Manifests as they lie in git.

/// A ConfigMap with one key.
pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: {value:?}\n")
}

/// A ConfigMap in a sync wave.
pub fn config_map_in_wave(name: &str, value: &str, wave: i32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations:\n    \
         argocd.argoproj.io/sync-wave: \"{wave}\"\ndata:\n  value: {value:?}\n"
    )
}

/// A Deployment of the test bed's workload.
#[derive(Clone, Debug)]
pub struct Deployment {
    name: String,
    wave: i32,
    replicas: Option<u32>,
    environment: Vec<(String, String)>,
}

impl Deployment {
    /// One pod that is ready at once.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), wave: 0, replicas: Some(1), environment: Vec::new() }
    }

    /// In this sync wave.
    pub fn wave(mut self, wave: i32) -> Self {
        self.wave = wave;
        self
    }

    /// With an environment variable that the workload obeys (see `e2e/workload/main.go`).
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without `replicas`, which somebody else sets.
    pub fn without_replicas(mut self) -> Self {
        self.replicas = None;
        self
    }

    /// The manifest.
    pub fn yaml(&self) -> String {
        let Self { name, wave, replicas, environment } = self;
        let replicas = replicas.map(|count| format!("  replicas: {count}\n")).unwrap_or_default();
        let environment: String = environment
            .iter()
            .map(|(name, value)| format!("            - {{name: {name}, value: {value:?}}}\n"))
            .collect();
        let environment = if environment.is_empty() { String::new() } else { format!("          env:\n{environment}") };
        format!(
            r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations:
    argocd.argoproj.io/sync-wave: "{wave}"
spec:
{replicas}  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: app
          image: tidelock.local/demo:1
          args: [serve]
{environment}          readinessProbe:
            httpGet: {{path: /readyz, port: 8080}}
            periodSeconds: 1
          securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"#
        )
    }
}
