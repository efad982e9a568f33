//! Git over SSH, on connections of the egress layer.
//!
//! ```text
//! Secret + spec.knownHosts ─► SshConfig
//! SshTransport::upload_pack ─► Connection: dial by egress → host key against KnownHosts → login with one key
//!                          └─► SshChannel: git-upload-pack on the server; bytes both ways, its complaints, its end
//! ```
//!
//! Trust comes before everything: a server whose key is not listed is shown neither user name nor key. There is no agent,
//! no configuration file, no environment, and no second attempt to log in.

mod channel;
mod connection;
mod handler;
mod hop;
mod identity;
mod known_hosts;
mod outcome;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod trust;
mod witness;

pub use channel::SshChannel;
pub use identity::{SshConfig, SshConfigError, SshIdentity};
pub use known_hosts::{KnownHosts, KnownHostsError};
pub use transport::SshTransport;
