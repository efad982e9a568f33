//! Reading Secrets for one purpose, with a record of which were read and a fingerprint of what they said.

use std::fmt::Write as _;
use std::sync::Arc;

use super::credentials::{self, Login, LoginError};
use super::secrets::{SecretValues, Secrets};
use crate::api::LocalReference;
use crate::egress::{BasicCredentials, CaBundle, ClientIdentity};
use crate::git::{SshConfig, SshConfigError};
use crate::model::{Hash64, Reason};
use crate::status::Failure;

/// Secrets read so far.
pub(super) struct Reading<'a> {
    secrets: &'a Secrets,
    names: Vec<String>,
    fingerprint: String,
}

impl<'a> Reading<'a> {
    /// Nothing is read yet. `about` is part of the fingerprint.
    pub(super) fn new(secrets: &'a Secrets, about: String) -> Self {
        Self { secrets, names: Vec::new(), fingerprint: about }
    }

    /// Adds to the fingerprint what does not come from a Secret.
    pub(super) fn note(&mut self, text: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.fingerprint, "{text}");
    }

    /// Which Secrets were read, and what changes when any of them does.
    pub(super) fn end(self) -> (Vec<String>, Hash64) {
        (self.names, Hash64::of_bytes(self.fingerprint.as_bytes()))
    }

    async fn values(&mut self, referrer: &str, reference: &LocalReference) -> Result<Arc<SecretValues>, Failure> {
        // Also of one that can't be read: it is to be read again when that is asked for.
        self.names.push(reference.name.clone());
        let values = self.secrets.get(&reference.name, referrer).await?;
        self.note(&format!("{referrer} {} {}", reference.name, values.fingerprint));
        Ok(values)
    }

    /// How a Repository logs in.
    pub(super) async fn login(&mut self, referrer: &str, reference: &LocalReference) -> Result<Login, Failure> {
        let values = self.values(referrer, reference).await?;
        Login::of_repository(&values).map_err(|error| unusable(referrer, reference, &error))
    }

    /// The key and the known hosts of a repository that is read over SSH.
    pub(super) async fn ssh(
        &mut self,
        referrer: &str,
        reference: &LocalReference,
        repository_known_hosts: &str,
    ) -> Result<SshConfig, Failure> {
        let values = self.values(referrer, reference).await?;
        self.note(&format!("known hosts {}", Hash64::of_bytes(repository_known_hosts.as_bytes())));
        let config = SshConfig::from_values(|key| values.bytes(key), repository_known_hosts);
        config.map_err(|error| {
            let (reason, of_secret) = match error {
                SshConfigError::NoKey => (Reason::SecretNotFound, true),
                SshConfigError::Key { .. } => (Reason::InvalidSpec, true),
                SshConfigError::KnownHosts { of_secret, .. } => (Reason::InvalidSpec, of_secret),
            };
            let message = if of_secret {
                format!("the Secret `{}` that {referrer} names can't be used: {error}", reference.name)
            } else {
                format!("{referrer}: {error}")
            };
            Failure { reason, message }
        })
    }

    /// User name and password.
    pub(super) async fn basic(
        &mut self,
        referrer: &str,
        reference: &LocalReference,
    ) -> Result<BasicCredentials, Failure> {
        let values = self.values(referrer, reference).await?;
        let found = credentials::basic(&values).map_err(|error| unusable(referrer, reference, &error))?;
        found.ok_or_else(|| lacks(referrer, reference, "keys `username` and `password` with text"))
    }

    /// A client certificate.
    pub(super) async fn identity(
        &mut self,
        referrer: &str,
        reference: &LocalReference,
    ) -> Result<ClientIdentity, Failure> {
        let values = self.values(referrer, reference).await?;
        let found = credentials::identity(&values).map_err(|error| unusable(referrer, reference, &error))?;
        found.ok_or_else(|| lacks(referrer, reference, "keys `tls.crt` and `tls.key`"))
    }

    /// Certificate authorities.
    pub(super) async fn ca(&mut self, referrer: &str, reference: &LocalReference) -> Result<CaBundle, Failure> {
        let values = self.values(referrer, reference).await?;
        let pem = values.bytes("ca.crt").ok_or_else(|| lacks(referrer, reference, "key `ca.crt`"))?;
        CaBundle::parse(pem).map_err(|error| Failure {
            reason: Reason::InvalidSpec,
            message: format!("`ca.crt` of the Secret `{}` that {referrer} names: {error}", reference.name),
        })
    }
}

fn lacks(referrer: &str, reference: &LocalReference, what: &str) -> Failure {
    Failure {
        reason: Reason::SecretNotFound,
        message: format!("the Secret `{}` that {referrer} names has no {what}", reference.name),
    }
}

fn unusable(referrer: &str, reference: &LocalReference, error: &LoginError) -> Failure {
    let reason = match error {
        LoginError::Half { .. } | LoginError::Nothing => Reason::SecretNotFound,
        LoginError::Several(..) | LoginError::Unusable(_) | LoginError::Identity(_) | LoginError::App(_) => {
            Reason::InvalidSpec
        }
    };
    Failure { reason, message: format!("the Secret `{}` that {referrer} names can't be used: {error}", reference.name) }
}
