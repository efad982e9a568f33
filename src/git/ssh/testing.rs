//! A real OpenSSH server on loopback, with keys made on the spot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::egress::{Egress, Override, SystemRoots, Timeouts};
use crate::git::RepositoryUrl;
use crate::git::testing::Fixture;

use super::{SshConfig, SshTransport};

const SSHD: &str = "/usr/sbin/sshd";

/// A file with a new key of this type; its public half lies beside it, with the ending `.pub`.
pub(in crate::git) fn make_key(dir: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", "test", "-f"]).arg(&path).args(arguments);
    if !arguments.contains(&"-N") {
        command.args(["-N", ""]);
    }
    let output = command.output().expect("ssh-keygen of the package openssh-client");
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    path
}

pub(in crate::git) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Type and base64 of a public key, as `known_hosts` has it.
pub(in crate::git) fn public_key(path: &Path) -> String {
    let text = read(&path.with_extension("pub"));
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// What differs between servers of tests.
pub(in crate::git) struct ServerSetup {
    /// `ssh-keygen` arguments of the host keys.
    pub host_keys: Vec<Vec<&'static str>>,
    /// Lines for `sshd_config`. The first line for an option counts.
    pub options: Vec<String>,
}

impl Default for ServerSetup {
    fn default() -> Self {
        Self { host_keys: vec![vec!["-t", "ed25519"], vec!["-t", "rsa", "-b", "3072"]], options: Vec::new() }
    }
}

/// The server. Stopped when dropped.
pub(in crate::git) struct SshServer {
    pub address: SocketAddr,
    /// Its host keys, the key `user` that it lets in, its log.
    pub dir: TempDir,
    pub user: String,
    child: Child,
}

impl SshServer {
    pub(in crate::git) async fn start() -> Self {
        Self::start_with(&ServerSetup::default()).await
    }

    pub(in crate::git) async fn start_with(setup: &ServerSetup) -> Self {
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing: apt-get install --no-install-recommends openssh-server");
        let dir = tempfile::tempdir().unwrap();
        make_key(dir.path(), "user", &["-t", "ed25519"]);
        std::fs::copy(dir.path().join("user.pub"), dir.path().join("authorized")).unwrap();
        let mut config = setup.options.join("\n");
        for (index, arguments) in setup.host_keys.iter().enumerate() {
            let path = make_key(dir.path(), &format!("host{index}"), arguments);
            config.push_str(&format!("\nHostKey {}", path.display()));
        }
        // Freed again before the server takes it; a test that loses this race starts over.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        config.push_str(&format!(
            "\nListenAddress 127.0.0.1:{port}\nAuthorizedKeysFile {0}/authorized\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             AcceptEnv GIT_PROTOCOL\nMaxStartups 200\nLogLevel VERBOSE\n",
            dir.path().display()
        ));
        let config_path = dir.path().join("sshd_config");
        std::fs::write(&config_path, config).unwrap();
        // Its folder for separated privileges, as the service unit makes it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(&config_path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned();
        let server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), dir, user, child };
        server.wait_for_log("Server listening on 127.0.0.1").await;
        server
    }

    /// Waits until the log has a line.
    pub(in crate::git) async fn wait_for_log(&self, text: &str) {
        self.wait_for_any_log(&[text]).await;
    }

    /// Waits until the log has one of these lines.
    pub(in crate::git) async fn wait_for_any_log(&self, texts: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !texts.iter().any(|text| self.log().contains(text)) {
            assert!(Instant::now() < deadline, "sshd never logged any of {texts:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(in crate::git) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// How many logins it let in so far.
    pub(in crate::git) fn logins(&self) -> usize {
        self.log().matches("Accepted publickey for").count()
    }

    /// How often a key was shown so far, good or bad.
    pub(in crate::git) fn tried_keys(&self) -> usize {
        self.log().matches(" publickey for ").count()
    }

    /// A line for `known_hosts` with the host key of this number.
    pub(in crate::git) fn known_host(&self, name: &str, index: usize) -> String {
        format!("{name} {}\n", public_key(&self.dir.path().join(format!("host{index}"))))
    }

    /// Its name in `known_hosts`.
    pub(in crate::git) fn name(&self) -> String {
        format!("[127.0.0.1]:{}", self.address.port())
    }

    pub(in crate::git) fn url_at(&self, host: &str, fixture: &Fixture) -> RepositoryUrl {
        self.url_of(host, &fixture.work().join(".git").display().to_string())
    }

    pub(in crate::git) fn url_of(&self, host: &str, path: &str) -> RepositoryUrl {
        RepositoryUrl::parse(&format!("ssh://{}@{host}{path}", self.user)).unwrap()
    }

    /// The repository at the server's own address.
    pub(in crate::git) fn url(&self, fixture: &Fixture) -> RepositoryUrl {
        self.url_at(&self.address.to_string(), fixture)
    }

    /// The right key, and the first host key listed for this server's address.
    pub(in crate::git) fn config(&self) -> SshConfig {
        config(&self.dir.path().join("user"), &self.known_host(&self.name(), 0))
    }

    #[expect(clippy::unused_self, reason = "a transport of this server")]
    pub(in crate::git) fn transport(&self, config: SshConfig, url: &RepositoryUrl) -> SshTransport {
        SshTransport::new(Some(config), url, Egress::direct(SystemRoots::none()), Override::None, timeouts())
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key from a file, and a list of hosts.
pub(in crate::git) fn config(key: &Path, known_hosts: &str) -> SshConfig {
    let key = std::fs::read(key).unwrap();
    let values = BTreeMap::from([("sshPrivateKey", key.as_slice()), ("known_hosts", known_hosts.as_bytes())]);
    SshConfig::from_values(|name| values.get(name).copied(), "").unwrap()
}

/// Long enough for a busy machine.
pub(in crate::git) fn timeouts() -> Timeouts {
    Timeouts { tls: Duration::from_secs(60), ..Timeouts::default() }
}
