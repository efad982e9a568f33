//! Who this process is to the lease.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// File in the state directory that holds the token and is locked while a process uses the directory.
const TOKEN_FILE: &str = "holder";
/// Length of the token: 64 random bits in hexadecimal.
const TOKEN_LENGTH: usize = 16;

/// The identity of a lease holder: `<host>_<token>`.
///
/// The token lives in the state directory, and whoever has it holds a lock on that directory which the kernel gives up
/// only with the process. So a process that finds its own identity on the lease knows that its predecessor is dead,
/// and need not wait for the lease to run out.
#[derive(Debug)]
pub struct Holder {
    identity: String,
    _lock: Option<File>,
}

/// Why there is no identity.
#[derive(Debug, Error)]
pub enum HolderError {
    /// Another process uses the state directory.
    #[error(
        "another tidelock process uses the state directory {directory}: stop it, or give this one another --state DIR"
    )]
    StateInUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The token can't be kept.
    #[error("cannot keep the identity of this process in {path}: {source}")]
    KeepToken {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Holder {
    /// Locks the state directory for this process and takes on its identity, or makes one.
    pub fn claim(state: &Path, host_name: &str) -> Result<Self, HolderError> {
        let path = state.join(TOKEN_FILE);
        let keep = |source: io::Error| HolderError::KeepToken { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(keep)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(HolderError::StateInUse { directory: state.to_owned() });
            }
            Err(error) => return Err(keep(error.into())),
        }
        let token = read_or_make_token(&mut file).map_err(keep)?;
        Ok(Self { identity: format!("{host_name}_{token}"), _lock: Some(file) })
    }

    /// The text on the lease.
    pub fn as_str(&self) -> &str {
        &self.identity
    }

    /// An identity without a state directory behind it.
    #[cfg(test)]
    pub(super) fn named(identity: &str) -> Self {
        Self { identity: identity.to_owned(), _lock: None }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.identity)
    }
}

fn read_or_make_token(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    (&*file).take(256).read_to_end(&mut text)?;
    if let Ok(token) = std::str::from_utf8(&text)
        && token.len() == TOKEN_LENGTH
        && token.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(token.to_owned());
    }
    let mut random = [0_u8; TOKEN_LENGTH / 2];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = format!("{:016x}", u64::from_be_bytes(random));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_on_the_same_state_has_the_same_identity_and_another_state_another() {
        let state = tempfile::tempdir().unwrap();
        let first = Holder::claim(state.path(), "node-1").unwrap().as_str().to_owned();
        let second = Holder::claim(state.path(), "node-1").unwrap().as_str().to_owned();
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Holder::claim(elsewhere.path(), "node-1").unwrap().as_str().to_owned();
        assert_eq!(first, second);
        assert_ne!(first, other);
        assert!(first.starts_with("node-1_"), "{first}");
    }

    #[test]
    fn a_state_directory_in_use_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let _running = Holder::claim(state.path(), "node-1").unwrap();
        let error = Holder::claim(state.path(), "node-1").unwrap_err();
        assert!(matches!(error, HolderError::StateInUse { .. }), "{error}");
    }

    #[test]
    fn a_damaged_token_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(TOKEN_FILE), "\0\0garbage").unwrap();
        let first = Holder::claim(state.path(), "node-1").unwrap().as_str().to_owned();
        assert_eq!(Holder::claim(state.path(), "node-1").unwrap().as_str(), first);
    }
}
