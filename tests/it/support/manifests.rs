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

/// A Job or Pod that runs to its end, as a hook.
#[derive(Clone, Debug)]
pub struct HookPod {
    kind: &'static str,
    name: String,
    annotations: Vec<(String, String)>,
    command: &'static str,
    duration: String,
    ttl: Option<u32>,
}

impl HookPod {
    /// A Job that ends well at once, at a phase (or several, separated by commas).
    pub fn job(name: &str, phase: &str) -> Self {
        Self {
            kind: "Job",
            name: name.to_owned(),
            annotations: vec![("argocd.argoproj.io/hook".to_owned(), phase.to_owned())],
            command: "run",
            duration: "0s".to_owned(),
            ttl: None,
        }
    }

    /// The same as a bare Pod.
    pub fn pod(name: &str, phase: &str) -> Self {
        Self { kind: "Pod", ..Self::job(name, phase) }
    }

    /// With an annotation besides.
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs for this long.
    pub fn lasting(mut self, duration: &str) -> Self {
        duration.clone_into(&mut self.duration);
        self
    }

    /// Fails.
    pub fn failing(mut self) -> Self {
        self.command = "fail";
        self
    }

    /// Is deleted by the cluster this many seconds after it ended.
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// The manifest.
    pub fn yaml(&self) -> String {
        let Self { kind, name, annotations, command, duration, ttl } = self;
        let annotations: String = annotations.iter().map(|(name, value)| format!("    {name}: {value:?}\n")).collect();
        let pod = format!(
            r#"restartPolicy: Never
terminationGracePeriodSeconds: 1
securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
containers:
  - name: main
    image: tidelock.local/demo:1
    args: [{command}]
    env: [{{name: DURATION, value: "{duration}"}}]
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"#
        );
        let indented =
            |by: usize| -> String { pod.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect() };
        let spec = if *kind == "Pod" {
            indented(2)
        } else {
            let ttl = ttl.map(|seconds| format!("  ttlSecondsAfterFinished: {seconds}\n")).unwrap_or_default();
            format!("  backoffLimit: 0\n{ttl}  template:\n    spec:\n{}", indented(6))
        };
        let version = if *kind == "Pod" { "v1" } else { "batch/v1" };
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  annotations:\n{annotations}spec:\n{spec}"
        )
    }
}

/// The definition of a namespaced kind whose objects have a status, in a sync wave.
pub fn definition(group: &str, kind: &str, plural: &str, wave: i32) -> String {
    let singular = kind.to_lowercase();
    format!(
        r#"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
  annotations:
    argocd.argoproj.io/sync-wave: "{wave}"
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}, singular: {singular}, listKind: {kind}List}}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {{status: {{}}}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [size]
              properties:
                size: {{type: integer, minimum: 1}}
            status:
              type: object
              x-kubernetes-preserve-unknown-fields: true
"#
    )
}

/// An object of such a kind.
pub fn custom(group: &str, kind: &str, name: &str, size: i64, wave: i32) -> String {
    format!(
        "apiVersion: {group}/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  annotations:\n    \
         argocd.argoproj.io/sync-wave: \"{wave}\"\nspec:\n  size: {size}\n"
    )
}
