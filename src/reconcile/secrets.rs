//! Secrets that our objects refer to, read one by one and by name: never listed, never watched.
//!
//! A Secret is read again after a while, and at once when credentials were refused, so that a rotation needs no restart
//! and an idle operator asks next to nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use secrecy::{ExposeSecret, SecretSlice};
use tokio::time::Instant;

use crate::model::{Hash64, Reason};
use crate::status::Failure;

/// How long a Secret that works is taken from memory.
const FRESH: Duration = Duration::from_mins(5);
/// How long the API server may take to return one.
const DEADLINE: Duration = Duration::from_secs(15);

/// The values of a Secret. Neither shown nor logged by any path.
pub struct SecretValues {
    values: BTreeMap<String, SecretSlice<u8>>,
    /// Changes when any value changes.
    pub fingerprint: Hash64,
}

impl SecretValues {
    /// Values made in a test.
    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let value = |text: &&str| SecretSlice::from(text.as_bytes().to_vec());
        let values = pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
        Self { values, fingerprint: Hash64::of_bytes(b"test") }
    }

    /// The bytes of a key.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(ExposeSecret::expose_secret)
    }

    /// A key's value as text, without the line break that tools like to leave at its end.
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes(key)?).ok()?;
        Some(text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line)))
    }
}

/// Reads Secrets of one namespace.
pub struct Secrets {
    api: Api<Secret>,
    namespace: String,
    fresh: Duration,
    held: Mutex<HashMap<String, (Instant, Arc<SecretValues>)>>,
}

impl Secrets {
    /// Secrets of a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            fresh: FRESH,
            held: Mutex::default(),
        }
    }

    /// The same, each taken from memory for another time.
    #[must_use]
    pub const fn fresh_for(mut self, fresh: Duration) -> Self {
        self.fresh = fresh;
        self
    }

    /// Reads a Secret again the next time it is asked for.
    pub fn forget(&self, name: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Reads every Secret again the next time it is asked for.
    pub fn forget_all(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The values of a Secret. `referrer` is the field that names it, for the error.
    ///
    /// # Errors
    /// `SecretNotFound` when it does not exist, `Forbidden` or `ClusterUnreachable` when it can't be read.
    pub async fn get(&self, name: &str, referrer: &str) -> Result<Arc<SecretValues>, Failure> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((read, values)) = &held
            && read.elapsed() < self.fresh
        {
            return Ok(Arc::clone(values));
        }
        let failure = |reason, what: String| Failure {
            reason,
            message: format!("the Secret `{name}` that {referrer} names {what} (namespace `{}`)", self.namespace),
        };
        match tokio::time::timeout(DEADLINE, self.api.get_opt(name)).await {
            Err(_) => Err(failure(Reason::ClusterUnreachable, "could not be read in time".to_owned())),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(failure(
                Reason::Forbidden,
                "may not be read by the operator; grant it `get` on that Secret".to_owned(),
            )),
            // The error's text could quote a body that failed to decode.
            Ok(Err(_)) => Err(failure(Reason::ClusterUnreachable, "could not be read".to_owned())),
            Ok(Ok(None)) => Err(failure(Reason::SecretNotFound, "does not exist; create it".to_owned())),
            Ok(Ok(Some(secret))) => {
                let data = secret.data.unwrap_or_default();
                let mut all = Vec::new();
                for (key, value) in &data {
                    all.extend_from_slice(key.as_bytes());
                    all.push(0);
                    all.extend_from_slice(&value.0);
                    all.push(0);
                }
                let fingerprint = Hash64::of_bytes(&all);
                let values = data.into_iter().map(|(key, value)| (key, SecretSlice::from(value.0))).collect();
                let values = Arc::new(SecretValues { values, fingerprint });
                self.held
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.to_owned(), (Instant::now(), Arc::clone(&values)));
                Ok(values)
            }
        }
    }
}
