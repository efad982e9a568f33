//! Real keys and real signatures, made by `gpg`, `ssh-keygen`, `git` and `openssl`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Runs a command; its output, which must be good.
pub(super) fn run(command: &mut Command) -> Vec<u8> {
    run_with(command, b"")
}

pub(super) fn run_with(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; install git, gnupg, openssl and openssh-client"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A keyring of `gpg` of its own; its agent ends with it.
pub(super) struct Gpg {
    home: TempDir,
}

impl Gpg {
    pub(super) fn new() -> Self {
        // Sockets of the agent need a short path.
        let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap();
        #[cfg(unix)]
        fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { home }
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.home.path()).args([
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
        ]);
        command.args(["--passphrase", ""]);
        command
    }

    /// As `command`, at another time (`20200101T000000`).
    pub(super) fn at(&self, time: &str) -> Command {
        let mut command = self.command();
        command.args(["--faked-system-time", time]);
        command
    }

    /// Makes a key with which only others are certified; its fingerprint.
    pub(super) fn make(&self, user: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        run(self.command().args(["--quick-generate-key", user, algorithm, usage, expires]));
        self.fingerprints(user).remove(0)
    }

    /// Fingerprints of a key and its subkeys.
    pub(super) fn fingerprints(&self, user: &str) -> Vec<String> {
        let listed = run(self.command().args(["--with-colons", "--list-keys", user]));
        let text = String::from_utf8(listed).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("fpr:"))
            .map(|line| line.trim_matches(':').to_owned())
            .collect()
    }

    pub(super) fn public(&self, user: &str) -> String {
        String::from_utf8(run(self.command().args(["--armor", "--export", user]))).unwrap()
    }

    pub(super) fn path(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).output();
    }
}

/// A pair of SSH keys.
pub(super) struct SshKey {
    home: TempDir,
}

impl SshKey {
    pub(super) fn new(kind: &[&str], comment: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        run(Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", comment, "-t"])
            .args(kind)
            .arg("-f")
            .arg(home.path().join("key")));
        Self { home }
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.path().join("key")
    }

    pub(super) fn public(&self) -> String {
        fs::read_to_string(self.home.path().join("key.pub")).unwrap().trim().to_owned()
    }

    pub(super) fn fingerprint(&self) -> String {
        let told = run(Command::new("ssh-keygen").args(["-l", "-f"]).arg(self.home.path().join("key.pub")));
        String::from_utf8(told).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    pub(super) fn sign(&self, namespace: &str, data: &[u8]) -> String {
        let made = run_with(
            Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(self.path()),
            data,
        );
        String::from_utf8(made).unwrap()
    }
}

/// A repository of the real git.
pub(super) struct Repository {
    home: TempDir,
    environment: Vec<(String, PathBuf)>,
}

impl Repository {
    pub(super) fn new(options: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let repository = Self { home, environment: Vec::new() };
        run(repository.git().args(["init", "-q", "-b", "main"]));
        for (name, value) in [("user.name", "Ada Lovelace"), ("user.email", "ada@corp.test")].iter().chain(options) {
            run(repository.git().args(["config", name, value]));
        }
        repository
    }

    /// Signs by OpenPGP with a key.
    pub(super) fn openpgp(gpg: &Gpg, key: &str) -> Self {
        let program = gpg.path().join("sign");
        let text = "#!/bin/sh\nexec gpg --batch --no-tty --pinentry-mode loopback --passphrase '' \"$@\"\n";
        if !program.exists() {
            fs::write(&program, text).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        }
        let mut repository = Self::new(&[("user.signingkey", key), ("gpg.program", program.to_str().unwrap())]);
        repository.environment.push(("GNUPGHOME".to_owned(), gpg.path().to_owned()));
        repository
    }

    /// Signs by SSH with a key.
    pub(super) fn ssh(key: &SshKey) -> Self {
        let path = key.path();
        Self::new(&[("gpg.format", "ssh"), ("user.signingkey", path.to_str().unwrap())])
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.home.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Commits; the commit's id.
    pub(super) fn commit(&self, signs: bool) -> String {
        let sign = if signs { "-S" } else { "--no-gpg-sign" };
        run(self.git().args(["commit", "-q", "--allow-empty", "-m", "a change\n\nwith a body", sign]));
        self.id("HEAD")
    }

    /// Tags `HEAD` with an annotated tag.
    pub(super) fn tag(&self, name: &str, signs: bool) {
        run(self.git().args(["tag", if signs { "-s" } else { "-a" }, "-m", "a release", name]));
    }

    pub(super) fn id(&self, name: &str) -> String {
        String::from_utf8(run(self.git().args(["rev-parse", name]))).unwrap().trim().to_owned()
    }

    pub(super) fn raw(&self, kind: &str, name: &str) -> Vec<u8> {
        run(self.git().args(["cat-file", kind, name]))
    }
}
