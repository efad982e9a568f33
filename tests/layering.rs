//! Which module may use which. Paths are read from the sources and resolved; code under `#[cfg(test)]` is free.
//!
//! A module's rule lists what it may use of this crate. The most specific rule counts, for the user and for the used:
//! `live::view` is pure although `live` is not.

#![expect(clippy::expect_used, reason = "a source that can't be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "layering/scanner.rs"]
mod scanner;

use scanner::{Use, uses_of};

/// A module and what it may use besides itself. `*` is everything.
struct Rule {
    module: &'static str,
    may_use: &'static [&'static str],
    layer: &'static str,
}

const fn rule(layer: &'static str, module: &'static str, may_use: &'static [&'static str]) -> Rule {
    Rule { module, may_use, layer }
}

const BASE: &str = "base: knows nothing above it";
const PURE: &str = "pure: decides, without I/O";
const ACTING: &str = "acting: does I/O, decides nothing, never uses another acting module but those listed";
const TOP: &str = "top";

const RULES: &[Rule] = &[
    rule(BASE, "model", &[]),
    rule(BASE, "clock", &[]),
    rule(BASE, "settings", &[]),
    rule(BASE, "api", &["model"]),
    rule(BASE, "metrics", &["model", "api"]),
    rule(BASE, "spans", &["model"]),
    rule(BASE, "telemetry", &["clock", "settings", "spans"]),
    // Traces leave as everything else does.
    rule(ACTING, "telemetry::traces", &["model", "settings", "spans", "egress"]),
    rule(PURE, "telemetry::traces::encode", &[]),
    rule(PURE, "telemetry::traces::report", &[]),
    rule(BASE, "server::probes", &["clock"]),
    rule(BASE, "seal", &[]),
    rule(PURE, "seal::index", &["seal::key"]),
    rule(PURE, "expression", &[]),
    rule(PURE, "customizations", &["model", "api"]),
    rule(PURE, "health", &["model"]),
    rule(PURE, "health::rules", &["model", "api", "expression", "customizations", "health"]),
    // Compares the rules with examples kept in files; nothing of the program's own flow uses it.
    rule(ACTING, "health::report", &["model", "health"]),
    rule(PURE, "live::record", &["model"]),
    rule(PURE, "live::scope", &["model"]),
    rule(
        PURE,
        "live::index",
        &["model", "live::record", "live::scope", "live::view", "live::LiveRecord", "live::LiveView", "live::Scope"],
    ),
    rule(PURE, "live::view", &["model", "live::record", "live::LiveRecord"]),
    rule(PURE, "desired", &["model", "api"]),
    rule(PURE, "windows", &["model", "api"]),
    rule(
        PURE,
        "diff",
        &["model", "api", "desired", "live::LiveRecord", "live::LiveView", "live::record", "live::view"],
    ),
    rule(
        PURE,
        "plan",
        &[
            "model",
            "api",
            "desired",
            "diff",
            "health",
            "live::LiveRecord",
            "live::LiveView",
            "live::record",
            "live::view",
        ],
    ),
    rule(PURE, "dependencies", &["model", "api", "expression", "plan::Waiting"]),
    rule(
        PURE,
        "status",
        &[
            "model",
            "api",
            "desired",
            "diff",
            "health",
            "plan",
            "live::LiveRecord",
            "live::LiveView",
            "live::record",
            "live::view",
        ],
    ),
    rule(PURE, "preflight", &["model", "api", "desired"]),
    rule(PURE, "verify", &["model", "api"]),
    rule(ACTING, "egress", &["model", "api", "clock", "metrics"]),
    rule(PURE, "git::submodules", &["git::url"]),
    rule(PURE, "git::lfs::pointer", &[]),
    rule(PURE, "git::lfs::batch", &["model", "git::lfs::pointer"]),
    rule(PURE, "git::version", &[]),
    rule(PURE, "git::ssh::known_hosts", &[]),
    rule(PURE, "git::ssh::trust", &["git::ssh::known_hosts"]),
    rule(PURE, "git::packet_line", &[]),
    rule(PURE, "git::pack_scan", &[]),
    rule(PURE, "git::protocol", &["model", "git::packet_line", "git::old_protocol"]),
    rule(PURE, "git::advertisement", &["model", "git::packet_line", "git::protocol"]),
    rule(PURE, "git::old_protocol", &["model", "git::packet_line", "git::protocol", "git::advertisement"]),
    rule(ACTING, "git", &["model", "api", "clock", "metrics", "egress"]),
    rule(ACTING, "artifacts", &["model", "egress", "git"]),
    rule(PURE, "artifacts::challenge", &[]),
    rule(PURE, "artifacts::digest", &[]),
    rule(PURE, "artifacts::index", &["artifacts::digest"]),
    rule(PURE, "artifacts::location", &["model"]),
    rule(PURE, "artifacts::manifest", &["artifacts::digest"]),
    rule(PURE, "artifacts::version", &["git::version", "git::Constraint", "git::newest", "git::parse_version"]),
    rule(ACTING, "render", &["model", "api", "clock", "metrics"]),
    rule(PURE, "render::yaml", &["model"]),
    rule(ACTING, "live", &["model", "api", "clock", "metrics", "health"]),
    rule(ACTING, "live::impersonation", &["model"]),
    // The client of the API server is dialled by the egress layer as everything else is.
    rule(ACTING, "live::client", &["egress", "live::fence"]),
    rule(ACTING, "live::fence", &[]),
    rule(ACTING, "apply", &["model", "api", "clock", "metrics", "desired", "plan", "preflight", "live"]),
    rule(PURE, "apply::managed_fields", &["model"]),
    rule(PURE, "apply::undeclared", &[]),
    rule(
        TOP,
        "reconcile",
        &[
            "model",
            "api",
            "clock",
            "metrics",
            "settings",
            "spans",
            "server::probes",
            "seal",
            "customizations",
            "health",
            "desired",
            "diff",
            "plan",
            "preflight",
            "windows",
            "dependencies",
            "verify",
            "status",
            "egress",
            "git",
            "artifacts",
            "render",
            "live",
            "apply",
        ],
    ),
    rule(PURE, "reconcile::lease::terms", &["settings"]),
    rule(
        PURE,
        "reconcile::location",
        &[
            "api",
            "git::RepositoryUrl",
            "git::RepositoryUrlError",
            "git::Target",
            "git::UrlPrefix",
            "artifacts::HelmRepositoryUrl",
            "artifacts::LocationError",
            "artifacts::RegistryReference",
            "artifacts::covers",
            "egress::Destination",
        ],
    ),
    rule(PURE, "reconcile::tree_options", &["model", "api", "egress::HostPattern", "git::RepositoryUrl", "status"]),
    rule(
        PURE,
        "reconcile::overriding",
        &[
            "model",
            "api",
            "desired",
            "reconcile::location",
            "render::manifests",
            "render::yaml",
            "status",
            "reconcile::memory",
        ],
    ),
    rule(
        TOP,
        "doctor",
        &["model", "api", "clock", "settings", "status", "egress", "git", "artifacts", "live::client", "reconcile"],
    ),
    rule(PURE, "doctor::report", &["model", "doctor::advice"]),
    rule(PURE, "doctor::text", &["doctor::report"]),
    rule(PURE, "doctor::advice", &["model"]),
    rule(
        PURE,
        "doctor::destinations",
        &[
            "api",
            "doctor::report",
            "egress::Destination",
            "egress::ProxyScheme",
            "egress::ProxyUrl",
            "git",
            "artifacts",
            "reconcile::SourceLocation",
        ],
    ),
    rule(
        PURE,
        "reconcile::hint",
        &["artifacts::HelmRepositoryUrl", "artifacts::RegistryReference", "git::RepositoryUrl", "reconcile::location"],
    ),
    rule(TOP, "server", &["model", "api", "clock", "metrics", "reconcile"]),
    rule(
        TOP,
        "server::webhook",
        &["model", "clock", "metrics", "reconcile::HintDoor", "reconcile::Hints", "reconcile::SecretValues"],
    ),
    rule(PURE, "server::webhook::vendor", &[]),
    rule(PURE, "server::webhook::proof", &["server::webhook::vendor"]),
    rule(PURE, "server::webhook::payload", &["server::webhook::vendor"]),
    rule(PURE, "server::webhook::limits", &["server::webhook::vendor"]),
    rule(TOP, "cli", &["*"]),
    rule(TOP, "main", &["*"]),
    rule(TOP, "lib", &[]),
];

/// A path of another crate, or of the standard library, that only some modules may name.
struct Wall {
    path: &'static str,
    allowed: &'static [&'static str],
    why: &'static str,
}

const WALLS: &[Wall] = &[
    Wall { path: "cel", allowed: &["expression"], why: "what an expression may cost is bounded in one place" },
    Wall { path: "pgp", allowed: &["verify"], why: "which signatures count is decided in one place" },
    Wall { path: "mlua", allowed: &["health::rules"], why: "what a script may do and cost is bounded in one place" },
    Wall { path: "git2", allowed: &["git"], why: "git objects are read and written in one place" },
    Wall {
        path: "kube::Client",
        allowed: &["live", "apply", "reconcile", "doctor"],
        why: "who has no client can't do I/O on the cluster",
    },
    Wall {
        path: "kube::client",
        allowed: &["live", "apply", "reconcile"],
        why: "who has no client can't do I/O on the cluster",
    },
    Wall { path: "axum", allowed: &["server"], why: "one HTTP server" },
    Wall { path: "russh::client", allowed: &["git::ssh"], why: "SSH is spoken in one place, over the egress layer" },
    Wall {
        path: "hyper",
        allowed: &["egress", "server::webhook"],
        why: "every outgoing connection takes the egress layer; what comes from strangers is taken under timers of its own",
    },
    Wall {
        path: "hyper_util",
        allowed: &["egress", "live::client", "server::webhook"],
        why: "every outgoing connection takes the egress layer; the Kubernetes client's pool sits on top of it",
    },
    Wall {
        path: "opentelemetry",
        allowed: &["spans", "telemetry"],
        why: "the names and attributes of spans are kept in one place",
    },
    Wall { path: "opentelemetry_sdk", allowed: &["telemetry"], why: "traces leave by one exporter" },
    Wall { path: "opentelemetry_proto", allowed: &["telemetry"], why: "traces leave by one exporter" },
    Wall { path: "anyhow", allowed: &["main"], why: "errors of a library are typed" },
    Wall { path: "std::env", allowed: &["settings", "main", "cli"], why: "the environment is read once" },
    Wall {
        path: "std::time::SystemTime::now",
        allowed: &["clock"],
        why: "time comes from a Clock, so tests can turn it",
    },
    Wall { path: "jiff::Timestamp::now", allowed: &["clock"], why: "time comes from a Clock, so tests can turn it" },
    Wall { path: "jiff::Zoned::now", allowed: &["clock"], why: "time comes from a Clock, so tests can turn it" },
];

/// Names by which a connection leaves, or a name is resolved, past the egress layer; whatever crate they come from.
const WAYS_OUT: &[&str] = &[
    "TcpStream",
    "TcpSocket",
    "UdpSocket",
    "ToSocketAddrs",
    "lookup_host",
    "HttpConnector",
    "RemoteCallbacks",
    "FetchOptions",
    "RepoBuilder",
];

/// Who may name them: the egress layer, which dials, and the server, which accepts.
const MAY_NAME_WAYS_OUT: &[&str] = &["egress", "server"];

/// Crates that connect by themselves, read the proxy variables by themselves, or bring another TLS along.
const UNWANTED_CRATES: &[&str] = &[
    "attohttpc",
    "awc",
    "aws-lc-rs",
    "aws-lc-sys",
    "curl",
    "curl-sys",
    "gix-transport",
    "hickory-resolver",
    "hyper-tls",
    "isahc",
    "libssh2-sys",
    "minreq",
    "native-tls",
    "openssl",
    "openssl-sys",
    "quinn",
    "reqwest",
    "ssh2",
    "surf",
    "ureq",
];

/// What pure modules may not name at all.
const IMPURE: &[&str] =
    &["tokio", "kube", "std::fs", "std::net", "std::process", "std::thread", "std::time::Instant::now"];

/// Whether `path` is `prefix` or lies below it.
fn within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn rule_of(module: &str) -> Option<&'static Rule> {
    RULES.iter().filter(|rule| within(module, rule.module)).max_by_key(|rule| rule.module.len())
}

/// The complaints about one source file.
fn complaints(file: &str, module: &str, source: &str) -> Vec<String> {
    let Some(own) = rule_of(module) else {
        return vec![format!("{file}: module `{module}` has no rule: add one to RULES in tests/layering.rs")];
    };
    let mut found = Vec::new();
    for Use { line, path } in uses_of(module, source) {
        let at = format!("{file}:{line}: `{module}`");
        if let Some(used) = path.strip_prefix("crate::") {
            let used = used.strip_prefix("self::").unwrap_or(used);
            let Some(target) = rule_of(used) else { continue };
            let same = target.module == own.module;
            // A part of a module with rules of its own may be re-exported and used by the module around it.
            let part = within(target.module, own.module);
            let listed = own.may_use.iter().any(|allowed| *allowed == "*" || within(used, allowed));
            if !(same || part || listed) {
                found.push(format!(
                    "{at} uses `crate::{used}`, but `{}` ({}) may use only [{}]",
                    own.module,
                    own.layer,
                    own.may_use.join(", ")
                ));
            }
            continue;
        }
        // Constants of the build, not the environment of the process.
        let constant = within(&path, "std::env::consts");
        for wall in WALLS.iter().filter(|wall| within(&path, wall.path) && !constant) {
            if !wall.allowed.iter().any(|allowed| within(module, allowed)) {
                found.push(format!(
                    "{at} names `{path}`, but `{}` belongs into [{}]: {}",
                    wall.path,
                    wall.allowed.join(", "),
                    wall.why
                ));
            }
        }
        let way_out = path.split("::").find(|part| WAYS_OUT.contains(part));
        if let Some(way_out) = way_out
            && !MAY_NAME_WAYS_OUT.iter().any(|allowed| within(module, allowed))
        {
            found
                .push(format!("{at} names `{path}`, but every outgoing connection takes the egress layer ({way_out})"));
        }
        if own.layer == PURE && IMPURE.iter().any(|impure| within(&path, impure)) {
            found.push(format!("{at} names `{path}`, but `{}` is {PURE}", own.module));
        }
    }
    found
}

fn source_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a folder of the sources") {
        let path = entry.expect("an entry of the sources").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/live/view.rs` → `live::view`, `src/live/mod.rs` → `live`.
fn module_of(path: &Path) -> String {
    let mut parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts.join("::")
}

#[test]
fn imports_go_downwards_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files.sort();
    let tests: BTreeSet<String> = files.iter().flat_map(|file| test_modules(&root, file)).collect();
    let mut found = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&root).expect("below the root");
        let module = module_of(relative);
        let named_so = module.ends_with("::tests") || module.ends_with("_tests");
        if named_so || tests.iter().any(|test| within(&module, test)) {
            continue;
        }
        let source = fs::read_to_string(file).expect("a source file in UTF-8");
        found.extend(complaints(&format!("src/{}", relative.display()), &module, &source));
    }
    assert!(files.len() > 20, "only {} source files were found below {}", files.len(), root.display());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_crate_that_connects_by_itself_is_built_in() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).expect("Cargo.lock");
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains("tidelock") && names.contains("rustls"), "Cargo.lock has another form than this test reads");
    let found: Vec<&&str> = UNWANTED_CRATES.iter().filter(|unwanted| names.contains(**unwanted)).collect();
    assert!(
        found.is_empty(),
        "Cargo.lock holds {found:?}: find out by `cargo tree -i NAME` what brings it, and do without"
    );
}

/// Modules in files of their own that exist for tests only.
fn test_modules(root: &Path, file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).expect("a source file in UTF-8");
    let module = module_of(file.strip_prefix(root).expect("below the root"));
    scanner::test_only_modules(&source).into_iter().map(|name| format!("{module}::{name}")).collect()
}

#[test]
fn violations_are_caught_with_their_place() {
    let cases: [(&str, &str, &[&str]); 15] = [
        ("health", "use crate::live::LiveView;", &["1: `health` uses `crate::live::LiveView`"]),
        ("model::key", "\n\nuse crate::{api, model::Hash64};", &["3: `model::key` uses `crate::api`"]),
        ("git::store", "use crate::render::yaml::decode;", &["1: `git::store` uses `crate::render::yaml::decode`"]),
        ("plan", "fn f() { crate::reconcile::run(); }", &["1: `plan` uses `crate::reconcile::run`"]),
        ("diff::ignore", "use super::super::apply::Applier;", &["1: `diff::ignore` uses `crate::apply::Applier`"]),
        ("live::view", "use super::cache::Cache;", &["1: `live::view` uses `crate::live::cache::Cache`"]),
        ("render", "use git2::Repository;", &["1: `render` names `git2::Repository`"]),
        ("render", "use kube::{Api, Client as C};", &["1: `render` names `kube::Client`"]),
        (
            "git",
            "fn f() { let now = Timestamp::now(); }\nuse jiff::Timestamp;",
            &["1: `git` names `jiff::Timestamp::now`"],
        ),
        (
            "egress",
            "use std::env;\nfn f() { env::var(\"A\"); }",
            &["1: `egress` names `std::env`", "2: `egress` names `std::env::var`"],
        ),
        ("status", "async fn f() { tokio::time::sleep(x).await; }", &["1: `status` names `tokio::time::sleep`"]),
        (
            "git::ssh",
            "use tokio::net::TcpStream;",
            &["1: `git::ssh` names `tokio::net::TcpStream`, but every outgoing"],
        ),
        (
            "reconcile",
            "use tokio::net;\nfn f() { net::lookup_host(\"x\"); }",
            &["2: `reconcile` names `tokio::net::lookup_host`"],
        ),
        ("git", "use git2::{FetchOptions, Oid};", &["1: `git` names `git2::FetchOptions`"]),
        ("novel", "", &["module `novel` has no rule"]),
    ];
    for (module, source, expected) in cases {
        let found = complaints("x.rs", module, source);
        assert_eq!(found.len(), expected.len(), "{module}: {source}: {found:?}");
        for (complaint, expected) in found.iter().zip(expected) {
            assert!(complaint.contains(expected), "{complaint} should contain {expected}");
        }
    }
}

#[test]
fn what_is_allowed_passes() {
    let cases = [
        ("reconcile::driver", "use crate::{live::Cache, plan, status};\nuse kube::Client;"),
        ("apply", "use crate::live::client::Client;"),
        ("live", "pub use view::LiveView;\nuse crate::live::view;"),
        ("live::cache", "use super::{record::LiveRecord, view::LiveView};"),
        ("server", "use crate::server::probes::Probes;\nuse axum::Router;"),
        ("render", "// use git2::Repository;\nconst A: &str = \"use git2::Repository\"; /* axum::x */"),
        ("render", "#[cfg(test)]\nmod tests { use git2::Repository; fn f() { std::env::var(\"}\"); } }"),
        ("git", "#[cfg(test)]\nuse crate::live::X;\nfn f<'a>(x: &'a str) -> char { '\"' }"),
        ("render", "fn f() -> &'static str { std::env::consts::ARCH }"),
        ("clock", "use jiff::Timestamp;\nfn f() { Timestamp::now(); }"),
    ];
    for (module, source) in cases {
        assert_eq!(complaints("x.rs", module, source), Vec::<String>::new(), "{module}: {source}");
    }
}
