//! The test bed: started once a test process, left up for the next run, taken down by `make test`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;

use super::{git_faults, misbehaving};

/// Where everything is: the `testbed.json` that `e2e/testbed.sh up` writes.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "everything that the bed has, whoever asks for it")]
pub struct Testbed {
    /// Directory of helm, kustomize and the rest.
    pub bin: PathBuf,
    /// The script that runs the bed.
    pub testbed: PathBuf,
    /// Kubeconfig of a cluster administrator: what the tests themselves use.
    pub kubeconfig: PathBuf,
    /// Command prefix that runs a program in the operator's place.
    pub operator_netns: Vec<String>,
    /// The operator's address, reachable from the host.
    pub operator_address: String,
    /// The API server's audit log.
    pub audit_log: PathBuf,
    /// Squid with a password, tunnelling.
    pub proxy_url: String,
    /// Squid with a password, intercepting TLS.
    pub proxy_intercept_url: String,
    /// The proxy's address with a port on which nothing listens.
    pub proxy_closed_url: String,
    /// CA of the interception.
    pub proxy_ca: PathBuf,
    /// Squid's user.
    pub proxy_username: String,
    /// Squid's password.
    pub proxy_password: String,
    /// Squid's access log.
    pub proxy_access_log: PathBuf,
    /// The git server over TLS.
    pub git_https_url: String,
    /// The git server in clear.
    pub git_http_url: String,
    /// CA of the git server's certificate.
    pub git_ca: PathBuf,
    /// Directory of the bare repositories.
    pub git_root: PathBuf,
    /// The git server's access log.
    pub git_access_log: PathBuf,
    /// File that switches faults of the git server on.
    pub git_control: PathBuf,
    /// The git server's user.
    pub git_username: String,
    /// The git server's password.
    pub git_password: String,
    /// A host without an address.
    pub unknown_host: String,
    /// A host that drops every packet.
    pub silent_host: String,
    /// A host with a certificate for other names.
    pub wrong_name_host: String,
    /// A host that the proxy refuses.
    pub forbidden_host: String,
    /// Every name that was asked for in the operator's place.
    pub dns_log: PathBuf,
    /// Squid without a password.
    pub proxy_open_url: String,
    /// The black hole's address with a proxy's port: never answers.
    pub proxy_silent_url: String,
    /// Squid over TLS, with a password.
    pub proxy_tls_url: String,
    /// Squid over TLS, with a client certificate instead.
    pub proxy_mutual_tls_url: String,
    /// CA of the certificates of proxies that speak TLS.
    pub proxy_tls_ca: PathBuf,
    /// A client certificate that everything accepts which wants one.
    pub client_certificate: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// tinyproxy, with a password.
    pub tinyproxy_url: String,
    /// Its password; the user is Squid's.
    pub tinyproxy_password: String,
    /// SOCKS5 without a password.
    pub socks_url: String,
    /// SOCKS5 with Squid's user and password.
    pub socks_password_url: String,
    /// One line for each connection of the former.
    pub socks_log: PathBuf,
    /// The misbehaving proxy: URL by mode.
    pub misbehave: BTreeMap<String, String>,
    /// Its log.
    pub misbehave_log: PathBuf,
    /// What its slots are.
    pub misbehave_control: PathBuf,
    /// An address without a route.
    pub no_route_address: String,
    /// An address whose host is unreachable.
    pub unreachable_address: String,
    /// An address that never answers.
    pub black_hole_address: String,
    /// The SSH server.
    pub ssh_host: String,
    /// Its other name, for port 443.
    pub alternative_ssh_host: String,
    /// Keys of its clients.
    pub ssh_directory: PathBuf,
    /// Its host keys, for all its names and ports.
    pub ssh_known_hosts: PathBuf,
    /// nginx with git's CGI program.
    pub nginx_host: String,
    /// Where nginx redirects to.
    pub nginx_other_host: String,
    /// nginx that wants a client certificate.
    pub mutual_tls_host: String,
    /// JSON line for each request of nginx.
    pub nginx_access_log: PathBuf,
    /// A registry without a login.
    pub registry_host: String,
    /// The same with the git server's login.
    pub registry_login_host: String,
    /// The same with layers on another host.
    pub registry_redirect_host: String,
    /// The same with a client certificate.
    pub registry_mutual_tls_host: String,
    /// The other host.
    pub blobs_host: String,
    /// Files of `charts_root`.
    pub charts_host: String,
    /// The same with the git server's login.
    pub charts_login_host: String,
    /// What lies there.
    pub charts_root: PathBuf,
}

impl Testbed {
    /// The one bed of this process, started when it is down.
    pub fn shared() -> &'static Self {
        static BED: OnceLock<Testbed> = OnceLock::new();
        BED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let script = e2e().join("testbed.sh");
        let install = e2e().join("install.sh");
        let output = Command::new(&script).args(["up", "--pods"]).output().unwrap_or_else(|error| {
            panic!("cannot run {}: {error}; install what the tests need: sudo {}", script.display(), install.display())
        });
        assert!(
            output.status.success(),
            "the test bed does not start ({}):\n{}\n{}\nThese tests need root and some packages; install them by: sudo {}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            install.display()
        );
        let path = state_directory().join("testbed.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} is missing: {error}", path.display()));
        let bed: Self = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{} is not what the tests expect: {error}", path.display()));
        git_faults::clear_all(&bed.git_control);
        misbehaving::clear_all(&bed.misbehave_control);
        apply_definitions(&bed);
        bed
    }

    /// One of the bed's own verbs; its standard output.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        run(Command::new(&self.testbed).args(arguments))
    }

    /// A command that runs in the operator's place, as the process that is spawned, and dies with the test.
    pub fn in_operator_place(&self, program: &Path) -> Command {
        self.in_operator_place_as(None, program)
    }

    /// The same with a group of its own, which rules of the packet filter there can name.
    pub fn in_operator_place_as(&self, group: Option<u32>, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(group) = group {
            command.arg(format!("--regid={group}")).arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.operator_netns).arg(program);
        command
    }

    /// The certificate authority of the git server, PEM.
    pub fn git_ca_pem(&self) -> String {
        read(&self.git_ca)
    }

    /// URL of a repository by its path below the root, without `.git`.
    pub fn git_url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.git_https_url)
    }

    /// Host of the git server.
    pub fn git_host(&self) -> &str {
        self.git_https_url.trim_start_matches("https://")
    }
}

/// Where the bed keeps its state, by the rule of `e2e/testbed/settings.sh`.
fn state_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("TIDELOCK_TESTBED").filter(|directory| !directory.is_empty()) {
        return PathBuf::from(directory);
    }
    match std::env::var("TIDELOCK_TESTBED_NUMBER").as_deref() {
        Err(_) | Ok("" | "0") => PathBuf::from("/var/lib/tidelock-testbed"),
        Ok(number) => PathBuf::from(format!("/var/lib/tidelock-testbed-{number}")),
    }
}

/// Folder `e2e` of the checkout.
pub fn e2e() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e")
}

/// Runs a command that must succeed; its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("commands of the tests print text")
}

/// A file that must be there.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn apply_definitions(bed: &Testbed) {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new(bed.bin.join("kubectl"));
        command.arg("--kubeconfig").arg(&bed.kubeconfig).args(arguments);
        run(&mut command)
    };
    let directory = definitions.display().to_string();
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &directory]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &directory]);
}
