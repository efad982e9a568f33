//! The key that seals what was verified: in a Secret of the operator's namespace, made when there is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::live::client::DEFAULT_DEADLINE;
use crate::model::Reason;
use crate::seal::{KEY_BYTES, SealKey};
use crate::status::Failure;

/// Name of the Secret.
const SECRET: &str = "tidelock-store-key";
/// Its key.
const ENTRY: &str = "key";
/// How long a key is taken from memory: a replaced one is noticed after this, and everything is sealed anew.
const FRESH: Duration = Duration::from_mins(5);

/// Reads the key, and makes it when it is missing.
pub(super) struct StoreKey {
    secrets: Api<Secret>,
    namespace: String,
    held: Mutex<Option<(Instant, Arc<SealKey>)>>,
}

impl StoreKey {
    /// The key of the operator in this namespace.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned(), held: Mutex::default() }
    }

    /// The key in force. While the API server does not answer, the one that was read last.
    ///
    /// # Errors
    /// When there is none and none can be made, or the Secret holds no key.
    pub(super) async fn get(&self) -> Result<Arc<SealKey>, Failure> {
        // Held over the request: whoever else wants the key waits for the same answer.
        let mut held = self.held.lock().await;
        if let Some((read, key)) = &*held
            && read.elapsed() < FRESH
        {
            return Ok(Arc::clone(key));
        }
        let read = match tokio::time::timeout(DEFAULT_DEADLINE, self.read_or_make()).await {
            Ok(read) => read,
            Err(_) => Err(self.failure(Reason::ClusterUnreachable, "could not be read in time")),
        };
        match (read, &*held) {
            (Ok(key), before) => {
                if let Some((_, before)) = before
                    && before.name() != key.name()
                {
                    info!(key = key.name(), "the store key was replaced; what is verified is sealed anew");
                }
                let key = Arc::new(key);
                *held = Some((Instant::now(), Arc::clone(&key)));
                Ok(key)
            }
            (Err(failure), Some((_, key))) if failure.reason == Reason::ClusterUnreachable => Ok(Arc::clone(key)),
            (Err(failure), _) => Err(failure),
        }
    }

    async fn read_or_make(&self) -> Result<SealKey, Failure> {
        if let Some(secret) = self.read().await? {
            return self.key_of(&secret);
        }
        let made = SealKey::generate().map_err(|error| self.failure(Reason::InternalError, &error.to_string()))?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    "tidelock-operator".to_owned(),
                )])),
                annotations: Some(BTreeMap::from([(
                    "tidelock.dev/description".to_owned(),
                    "Seals what the operator has verified of its sources. Deleting it makes the operator ask every \
                     source again before it trusts its volume."
                        .to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(ENTRY.to_owned(), ByteString(made.expose_secret().to_vec()))])),
            ..Secret::default()
        };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {
                info!(secret = SECRET, "made the store key");
                self.key_of(&secret)
            }
            // Somebody else was faster: theirs is the key.
            Err(kube::Error::Api(answer)) if answer.code == 409 => match self.read().await? {
                Some(secret) => self.key_of(&secret),
                None => Err(self.failure(Reason::SecretNotFound, "was made and deleted again at the same moment")),
            },
            Err(kube::Error::Api(answer)) if answer.code == 403 => {
                Err(self
                    .failure(Reason::Forbidden, "may not be made by the operator; grant it `create` on Secrets there"))
            }
            Err(_) => Err(self.failure(Reason::ClusterUnreachable, "could not be made")),
        }
    }

    async fn read(&self) -> Result<Option<Secret>, Failure> {
        match self.secrets.get_opt(SECRET).await {
            Ok(secret) => Ok(secret),
            Err(kube::Error::Api(answer)) if answer.code == 403 => Err(self.failure(
                Reason::Forbidden,
                "may not be read by the operator; grant it `get` on that Secret and `create` on Secrets",
            )),
            // The error's text could quote a body that failed to decode.
            Err(_) => Err(self.failure(Reason::ClusterUnreachable, "could not be read")),
        }
    }

    fn key_of(&self, secret: &Secret) -> Result<SealKey, Failure> {
        let bytes = secret.data.as_ref().and_then(|data| data.get(ENTRY)).map_or(&[][..], |value| &value.0);
        SealKey::from_bytes(bytes).map_err(|error| {
            warn!(%error, secret = SECRET, "the store key can't be used");
            let message = format!(
                "has no key of {KEY_BYTES} bytes under `{ENTRY}` ({error}); delete it, and the operator makes a new one"
            );
            self.failure(Reason::SecretNotFound, &message)
        })
    }

    fn failure(&self, reason: Reason, what: &str) -> Failure {
        Failure {
            reason,
            message: format!("the Secret `{SECRET}` with the store key {what} (namespace `{}`)", self.namespace),
        }
    }
}
