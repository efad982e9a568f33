//! Flags, environment and defaults become one validated value. The only reader of the environment.

mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use thiserror::Error;

pub use traces::{Gathered as GatheredTraces, TraceEnvironment, TraceSampler, TraceSettings, TraceSettingsError};

/// Where a pod finds the namespace it runs in.
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where the kernel tells the host's (a pod's: the pod's) name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// How long the lease lasts unless a flag says otherwise, in seconds: as in Kubernetes' own components.
pub const LEASE_SECONDS: u16 = 15;
/// The shortest lease, in seconds. Below it a pause of the machine is enough to lose one.
pub const LEAST_LEASE_SECONDS: u16 = 5;
/// The longest lease, in seconds: nobody works for as long when its holder dies.
pub const MOST_LEASE_SECONDS: u16 = 600;

/// Flags of `tidelock controller`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ControllerFlags {
    /// Kubeconfig of the cluster to work on; without it the controller must run in a pod and uses its service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Applications and of everything else the controller reads and keeps; defaults to the pod's own
    #[arg(long, value_name = "NS", env = "TIDELOCK_NAMESPACE")]
    pub namespace: Option<String>,
    /// Directory for git objects and render results; losing it costs one fetch
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tidelock")]
    pub state: PathBuf,
    /// Address for /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Name that tells this installation's objects from those of another controller on the same cluster
    #[arg(long, value_name = "NAME", default_value = "tidelock")]
    pub installation: String,
    /// Accept a key that appears twice in a mapping of a plain YAML file (the last one wins) and warn, instead of refusing
    /// the file
    #[arg(long)]
    pub allow_duplicate_keys: bool,
    /// Touch managed objects only as the ServiceAccount that destinationServiceAccounts of the AppProject names; without a match
    /// nothing is done for the Application
    #[arg(long, env = "TIDELOCK_REQUIRE_IMPERSONATION")]
    pub require_impersonation: bool,
    /// Deploy to these namespaces only and watch each by itself, so that no right on the whole cluster is needed; no
    /// cluster-scoped kinds
    #[arg(long, value_name = "NS,NS", value_delimiter = ',', env = "TIDELOCK_DESTINATION_NAMESPACES")]
    pub destination_namespaces: Vec<String>,
    /// Base URL of an OTLP/HTTP receiver to export traces to, `/v1/traces` is added; without it, and without
    /// OTEL_EXPORTER_OTLP_ENDPOINT, there are no traces
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Address to take webhooks at, as POST /api/webhook; without it none are taken
    #[arg(long, value_name = "ADDR")]
    pub webhook_listen: Option<SocketAddr>,
    /// Secret in the controller's namespace with the keys that prove webhooks
    #[arg(long, value_name = "NAME", default_value = "tidelock-webhook")]
    pub webhook_secret: String,
    /// Within how many seconds another replica takes over from one that is gone; renewals of the lease, and when a holder that
    /// can't renew it stops writing, follow from it
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = LEASE_SECONDS,
        value_parser = clap::value_parser!(u16).range(i64::from(LEAST_LEASE_SECONDS)..=i64::from(MOST_LEASE_SECONDS)),
        env = "TIDELOCK_LEASE_DURATION"
    )]
    pub lease_duration: u16,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub tools: ToolFlags,
}

/// Where helm and kustomize are.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFlags {
    /// Directory that holds helm and kustomize; defaults to the directory of this program, then PATH
    #[arg(long = "tools", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// What can't be worked with.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// No namespace was given and there is no pod to take it from.
    #[error("the namespace is not known: give --namespace NS (outside a pod there is no default)")]
    NamespaceUnknown,
    /// The pod's namespace file could not be read.
    #[error("cannot read the pod's namespace from {path}: {source}")]
    ReadNamespace {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A name is not a valid DNS label.
    #[error(
        "--{flag} `{value}` is not a name: lower case letters, digits and '-', at most 63, beginning and ending with a letter or digit"
    )]
    InvalidName {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// The kubeconfig file is not there.
    #[error("cannot read the kubeconfig {path}: {source}")]
    ReadKubeconfig {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The state directory can't be made.
    #[error("cannot create the state directory {path}: {source}; choose another with --state DIR")]
    CreateState {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The state directory can't be written to.
    #[error("cannot write to the state directory {path}: {source}; choose another with --state DIR")]
    WriteState {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// `--tools` names a directory that lacks a tool.
    #[error("there is no executable `{tool}` in {directory}, which --tools names")]
    ToolMissing {
        /// The tool.
        tool: &'static str,
        /// The directory.
        directory: PathBuf,
    },
}

/// What the process finds around itself, as plain values.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `PATH`.
    pub path: Option<OsString>,
    /// Directory of this program.
    pub own_directory: Option<PathBuf>,
    /// Name of the host, or of the pod.
    pub host_name: String,
    /// File that holds the pod's namespace.
    pub namespace_file: PathBuf,
    /// Proxy variables.
    pub proxy: ProxyEnvironment,
    /// Variables of OpenTelemetry.
    pub traces: TraceEnvironment,
}

/// The conventional proxy variables by their exact names, as they are set; the egress layer reads their values, which may
/// hold passwords.
#[derive(Clone, Debug, Default)]
pub struct ProxyEnvironment {
    /// `http_proxy`, `HTTPS_PROXY` and so on, in lower and upper case.
    pub variables: BTreeMap<String, SecretString>,
}

impl ProxyEnvironment {
    /// Picks them out by what `variable` finds for a name. A value that is not UTF-8 is kept as far as it can be read: it must
    /// not look like one that is unset.
    fn pick(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let names = PROXY_VARIABLES.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
        let set = names.filter_map(|name| {
            let value = variable(&name)?;
            (!value.is_empty()).then(|| (name, SecretString::from(value.to_string_lossy().into_owned())))
        });
        Self { variables: set.collect() }
    }
}

/// The proxy variables, in lower case.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

impl Environment {
    /// Reads the process's environment, once.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn read() -> Self {
        Self {
            path: std::env::var_os("PATH"),
            own_directory: std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned)),
            host_name: fs::read_to_string(HOST_NAME)
                .map(|name| name.trim().to_owned())
                .ok()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown-host".to_owned()),
            namespace_file: PathBuf::from(SERVICE_ACCOUNT_NAMESPACE),
            proxy: ProxyEnvironment::pick(|name| std::env::var_os(name)),
            traces: TraceEnvironment::pick(|name| std::env::var_os(name)),
        }
    }
}

/// Where the rendering tools are. A tool that is `None` was not found: plain directories render without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// The helm program.
    pub helm: Option<PathBuf>,
    /// The kustomize program.
    pub kustomize: Option<PathBuf>,
}

impl Tools {
    /// Finds the tools in the directory given, or beside this program, or on `PATH`.
    pub fn locate(flags: &ToolFlags, environment: &Environment) -> Result<Self, SettingsError> {
        if let Some(directory) = &flags.directory {
            let demand = |tool: &'static str| {
                let path = directory.join(tool);
                if is_executable(&path) {
                    Ok(Some(std::path::absolute(&path).unwrap_or(path)))
                } else {
                    Err(SettingsError::ToolMissing { tool, directory: directory.clone() })
                }
            };
            return Ok(Self { helm: demand("helm")?, kustomize: demand("kustomize")? });
        }
        let path = environment.path.clone().unwrap_or_default();
        let candidates: Vec<PathBuf> =
            environment.own_directory.iter().cloned().chain(std::env::split_paths(&path)).collect();
        let search = |tool: &str| {
            let absolute = candidates.iter().filter(|directory| directory.is_absolute());
            absolute.map(|directory| directory.join(tool)).find(|path| is_executable(path))
        };
        Ok(Self { helm: search("helm"), kustomize: search("kustomize") })
    }
}

impl Tools {
    /// Where helm is, or would have to be: the error of a render then names what is missing.
    pub fn helm_path(&self) -> PathBuf {
        self.helm.clone().unwrap_or_else(|| PathBuf::from("/usr/local/bin/helm"))
    }

    /// Where kustomize is, or would have to be.
    pub fn kustomize_path(&self) -> PathBuf {
        self.kustomize.clone().unwrap_or_else(|| PathBuf::from("/usr/local/bin/kustomize"))
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Everything the controller is told, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kubeconfig of the cluster to work on; `None` is the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Applications and of everything else the controller reads and keeps.
    pub namespace: String,
    /// Writable directory for git objects and render results.
    pub state: PathBuf,
    /// Address for probes and metrics.
    pub listen: SocketAddr,
    /// Address for webhooks; `None` when none are taken.
    pub webhook_listen: Option<SocketAddr>,
    /// Secret with the keys that prove webhooks.
    pub webhook_secret: String,
    /// Name of this installation.
    pub installation: String,
    /// Whether a key that appears twice in plain YAML is a warning instead of an error.
    pub allow_duplicate_keys: bool,
    /// Whether managed objects are touched only as a ServiceAccount that the project names.
    pub require_impersonation: bool,
    /// The only namespaces that are deployed to; `None` is the whole cluster.
    pub destination_namespaces: Option<BTreeSet<String>>,
    /// Within how many seconds a holder of the lease that is gone is replaced.
    pub lease_duration: u16,
    /// The rendering tools.
    pub tools: Tools,
    /// Name of the host, or of the pod.
    pub host_name: String,
    /// Proxy variables, for the egress layer alone.
    pub proxy: ProxyEnvironment,
}

impl Settings {
    /// Validates the flags against what is around the process, and makes the state directory.
    pub fn gather(flags: ControllerFlags, environment: Environment) -> Result<Self, SettingsError> {
        // Traces begin with the logs, before anything else is gathered.
        let ControllerFlags {
            kubeconfig,
            namespace,
            state,
            listen,
            installation,
            allow_duplicate_keys,
            require_impersonation,
            destination_namespaces,
            otlp_endpoint: _,
            webhook_listen,
            webhook_secret,
            lease_duration,
            tools,
        } = flags;
        let tools = Tools::locate(&tools, &environment)?;
        let Environment { path: _, own_directory: _, host_name, namespace_file, proxy, traces: _ } = environment;
        if let Some(path) = &kubeconfig {
            fs::File::open(path).map_err(|source| SettingsError::ReadKubeconfig { path: path.clone(), source })?;
        }
        let namespace = namespace_or(namespace, &namespace_file)?;
        let installation = dns_label("installation", installation)?;
        let destination_namespaces = destination_namespaces
            .into_iter()
            .map(|name| dns_label("destination-namespaces", name.trim().to_owned()))
            .collect::<Result<BTreeSet<String>, _>>()?;
        // Given and empty is an invalid name: it must not come to mean the whole cluster.
        let destination_namespaces = Some(destination_namespaces).filter(|names| !names.is_empty());
        let webhook_secret = dns_label("webhook-secret", webhook_secret)?;
        prepare_state(&state)?;
        let state = fs::canonicalize(&state).map_err(|source| SettingsError::CreateState { path: state, source })?;
        Ok(Self {
            kubeconfig,
            namespace,
            state,
            listen,
            webhook_listen,
            webhook_secret,
            installation,
            allow_duplicate_keys,
            require_impersonation,
            destination_namespaces,
            lease_duration,
            tools,
            host_name,
            proxy,
        })
    }
}

/// The namespace to work in: the one that was given, else the pod's own.
///
/// # Errors
/// When it is not known, or is no name.
pub fn namespace(given: Option<String>, environment: &Environment) -> Result<String, SettingsError> {
    namespace_or(given, &environment.namespace_file)
}

fn namespace_or(given: Option<String>, file: &Path) -> Result<String, SettingsError> {
    let namespace = match given {
        Some(namespace) => namespace,
        None => pod_namespace(file)?,
    };
    dns_label("namespace", namespace)
}

fn pod_namespace(file: &Path) -> Result<String, SettingsError> {
    match fs::read_to_string(file) {
        Ok(namespace) => Ok(namespace.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SettingsError::NamespaceUnknown),
        Err(source) => Err(SettingsError::ReadNamespace { path: file.to_owned(), source }),
    }
}

fn dns_label(flag: &'static str, value: String) -> Result<String, SettingsError> {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = value.as_bytes();
    let inner = bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    if bytes.len() <= 63 && inner && edge(bytes.first()) && edge(bytes.last()) {
        Ok(value)
    } else {
        Err(SettingsError::InvalidName { flag, value })
    }
}

/// Makes the directory for this user alone, and proves that it can be written to.
fn prepare_state(path: &Path) -> Result<(), SettingsError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| SettingsError::CreateState { path: path.to_owned(), source })?;
    let probe = path.join(format!(".writable-{}", std::process::id()));
    fs::write(&probe, b"")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|source| SettingsError::WriteState { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn flags(state: &Path) -> ControllerFlags {
        ControllerFlags {
            kubeconfig: None,
            namespace: Some("tidelock".to_owned()),
            state: state.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            installation: "tidelock".to_owned(),
            allow_duplicate_keys: false,
            require_impersonation: false,
            destination_namespaces: Vec::new(),
            otlp_endpoint: None,
            webhook_listen: None,
            webhook_secret: "tidelock-webhook".to_owned(),
            lease_duration: LEASE_SECONDS,
            tools: ToolFlags::default(),
        }
    }

    fn tool(directory: &Path, name: &str) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_namespace_comes_from_the_pod_when_no_flag_gives_it() {
        let directory = tempfile::tempdir().unwrap();
        let namespace_file = directory.path().join("namespace");
        fs::write(&namespace_file, "platform\n").unwrap();
        let environment = Environment { namespace_file, ..Environment::default() };
        let flags = ControllerFlags { namespace: None, ..flags(&directory.path().join("state")) };
        assert_eq!(Settings::gather(flags, environment).unwrap().namespace, "platform");
    }

    #[test]
    fn outside_a_pod_a_missing_namespace_says_which_flag_to_give() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment { namespace_file: directory.path().join("absent"), ..Environment::default() };
        let flags = ControllerFlags { namespace: None, ..flags(directory.path()) };
        let error = Settings::gather(flags, environment).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the namespace is not known: give --namespace NS (outside a pod there is no default)"
        );
    }

    #[test]
    fn names_that_kubernetes_would_refuse_are_refused() {
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(dns_label("namespace", bad.to_owned()).is_err(), "{bad}");
        }
        for good in ["a", "0", "a-b", &"a".repeat(63)] {
            assert_eq!(dns_label("namespace", good.to_owned()).unwrap(), good);
        }
    }

    #[test]
    fn namespaces_that_are_given_and_empty_do_not_come_to_mean_the_whole_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let given = |names: &[&str]| {
            let destination_namespaces = names.iter().map(|name| (*name).to_owned()).collect();
            let flags = ControllerFlags { destination_namespaces, ..flags(directory.path()) };
            Settings::gather(flags, Environment::default()).map(|settings| settings.destination_namespaces)
        };
        assert_eq!(given(&[]).unwrap(), None);
        assert_eq!(given(&["shop", " cart"]).unwrap(), Some(BTreeSet::from(["cart".to_owned(), "shop".to_owned()])));
        assert!(given(&[""]).unwrap_err().to_string().starts_with("--destination-namespaces `` is not a name"));
    }

    #[test]
    fn tools_beside_the_program_win_over_path_and_a_missing_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let beside = tool(&directory.path().join("beside"), "helm");
        let on_path = directory.path().join("bin");
        tool(&on_path, "helm");
        let environment = Environment {
            path: Some(on_path.into_os_string()),
            own_directory: beside.parent().map(Path::to_owned),
            ..Environment::default()
        };
        let tools = Tools::locate(&ToolFlags::default(), &environment).unwrap();
        assert_eq!(tools, Tools { helm: Some(beside), kustomize: None });
    }

    #[test]
    fn a_named_tools_directory_must_hold_both() {
        let directory = tempfile::tempdir().unwrap();
        tool(directory.path(), "helm");
        let flags = ToolFlags { directory: Some(directory.path().to_owned()) };
        let error = Tools::locate(&flags, &Environment::default()).unwrap_err();
        assert!(matches!(error, SettingsError::ToolMissing { tool: "kustomize", .. }), "{error}");
    }

    #[test]
    fn proxy_variables_are_kept_in_both_cases_and_do_not_show_in_debug_output() {
        use std::os::unix::ffi::OsStringExt;
        let found = ProxyEnvironment::pick(|name| match name {
            "https_proxy" => Some("http://user:canary@proxy:3128".into()),
            "HTTPS_PROXY" => Some(OsString::from_vec(b"http://pro\xffxy".to_vec())),
            "NO_PROXY" => Some("".into()),
            _ => None,
        });
        let values: Vec<(&str, &str)> =
            found.variables.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(values, [("HTTPS_PROXY", "http://pro\u{fffd}xy"), ("https_proxy", "http://user:canary@proxy:3128")]);
        assert!(!format!("{found:?}").contains("canary"));
    }

    #[test]
    fn the_state_directory_is_made_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("deep/state");
        Settings::gather(flags(&state), Environment::default()).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }
}
