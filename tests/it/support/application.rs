//! Applications, as tests declare them.

use serde_json::{Value, json};

/// The finalizer that lets an Application delete what it owns before it goes.
pub const FINALIZER: &str = "tidelock.dev/resources-finalizer";

/// An Application in the making: automated, pruning and self-healing unless told otherwise.
#[derive(Clone, Debug)]
pub struct Application {
    object: Value,
}

impl Application {
    /// Plain YAML of `path` at `main`, into `namespace`.
    pub fn named(name: &str, url: &str, path: &str, namespace: &str) -> Self {
        Self {
            object: json!({
                "apiVersion": "tidelock.dev/v1alpha1",
                "kind": "Application",
                "metadata": {"name": name},
                "spec": {
                    "project": "default",
                    "source": {"repoURL": url, "path": path, "targetRevision": "main"},
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                    "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
                    // Tests ask for a poll when they want one; see `Installation::refresh`.
                    "pollInterval": "10m",
                },
            }),
        }
    }

    /// Deletes what it owns when it is deleted.
    pub fn with_finalizer(self) -> Self {
        self.set("/metadata", "finalizers", json!([FINALIZER]))
    }

    /// Asks git this often.
    pub fn polled_every(self, interval: &str) -> Self {
        self.set("/spec", "pollInterval", json!(interval))
    }

    /// Follows another branch, a tag or a commit.
    pub fn at(self, revision: &str) -> Self {
        self.set("/spec/source", "targetRevision", json!(revision))
    }

    /// With several sources instead of one.
    pub fn sources(mut self, sources: Value) -> Self {
        self.object["spec"].as_object_mut().expect("a spec").remove("source");
        self.set("/spec", "sources", sources)
    }

    /// With a field of `spec`.
    pub fn spec(self, field: &str, value: Value) -> Self {
        self.set("/spec", field, value)
    }

    /// Retries a failed sync soon, so that a test need not wait.
    pub fn retrying_soon(self) -> Self {
        self.set("/spec/syncPolicy", "retry", json!({"limit": -1, "backoff": {"duration": "1s", "maxDuration": "1s"}}))
    }

    /// The object.
    pub fn object(self) -> Value {
        self.object
    }

    fn set(mut self, pointer: &str, field: &str, value: Value) -> Self {
        self.object.pointer_mut(pointer).expect("a part of an Application")[field] = value;
        self
    }
}

/// A condition of an object's status, by type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Reason of the condition `Ready`.
pub fn ready_reason(object: &Value) -> &str {
    condition(object, "Ready").and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
}

/// Message of the condition `Ready`.
pub fn ready_message(object: &Value) -> &str {
    condition(object, "Ready").and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

/// Sync state.
pub fn sync_state(object: &Value) -> &str {
    object["status"]["sync"]["status"].as_str().unwrap_or_default()
}

/// Health.
pub fn health(object: &Value) -> &str {
    object["status"]["health"]["status"].as_str().unwrap_or_default()
}

/// The revision that live state was compared with.
pub fn revision(object: &Value) -> &str {
    object["status"]["sync"]["revision"].as_str().unwrap_or_default()
}
