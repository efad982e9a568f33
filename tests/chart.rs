//! The charts, as their users get them: each folder of `tests/chart/cases` is a set of values with what the chart makes of it.
//! `UPDATE_GOLDEN=1 cargo test --test chart` writes down what it makes now, and with it what is derived from the chart: the table
//! in its README, the descriptions in its schema, and `config/base`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as expected; where the tools are comes from the environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde_json::Value;

#[path = "chart/checks.rs"]
mod checks;
#[path = "chart/documentation.rs"]
mod documentation;
#[path = "chart/kustomization.rs"]
mod kustomization;
#[path = "chart/network.rs"]
mod network;
#[path = "chart/observability.rs"]
mod observability;

/// The version of Kubernetes that the charts are rendered for.
const KUBERNETES: &str = "1.35.0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn tool(name: &str) -> PathBuf {
    let Some(tools) = std::env::var_os("TIDELOCK_TOOLS").map(PathBuf::from) else {
        panic!("the tools are missing: run `make tools` and set TIDELOCK_TOOLS=$(e2e/tools/build.sh)");
    };
    tools.join(name)
}

/// What a tool says: whether it succeeded, stdout, stderr.
fn run(name: &str, arguments: &[&str]) -> (bool, String, String) {
    let home = tempfile::tempdir().unwrap();
    let done = Command::new(tool(name))
        .args(arguments)
        .current_dir(root())
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {name}: {error}; TIDELOCK_TOOLS=$(e2e/tools/build.sh)"));
    let [output, log] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (done.status.success(), output, log)
}

/// What the chart `tidelock` makes of these flags.
fn template(flags: &[&str]) -> Result<String, String> {
    let fixed = ["template", "tidelock", "charts/tidelock", "--namespace", "tidelock", "--kube-version", KUBERNETES];
    let (success, output, log) = run("helm", &[&fixed, flags].concat());
    if success { Ok(output) } else { Err(log) }
}

/// The documents of a stream that are not empty.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{error} in\n{text}")))
        .filter(|value| !value.is_null())
        .collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind namespace/name`.
fn identity(object: &Value) -> String {
    let [kind, namespace, name] = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(object, at));
    format!("{kind} {namespace}/{name}")
}

struct Case {
    name: String,
    directory: PathBuf,
}

impl Case {
    fn values(&self) -> String {
        format!("tests/chart/cases/{}/values.yaml", self.name)
    }

    /// What the chart makes of it; Helm is asked once.
    fn output(&self) -> String {
        static OUTPUTS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
        let outputs = OUTPUTS.get_or_init(|| {
            let output = |case: Case| {
                let output = template(&["--values", &case.values()]);
                (case.name.clone(), output.unwrap_or_else(|error| panic!("{}: {error}", case.name)))
            };
            cases().into_iter().map(output).collect()
        });
        outputs[&self.name].clone()
    }
}

fn cases() -> Vec<Case> {
    let entries = fs::read_dir(root().join("tests/chart/cases")).unwrap();
    let mut cases: Vec<Case> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| Case { name: entry.file_name().into_string().unwrap(), directory: entry.path() })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Compares with the file, or writes it. Returns what is wrong.
fn golden(file: &Path, is: &str) -> Option<String> {
    if updating() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, is).unwrap();
        return None;
    }
    let wanted = fs::read_to_string(file).unwrap_or_default();
    let differing = wanted.lines().zip(is.lines()).position(|(wanted, is)| wanted != is);
    let line = differing.unwrap_or_else(|| wanted.lines().count().min(is.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
    (wanted != is).then(|| {
        format!("{} differs from line {}\n  wanted: {}\n  is:     {}", file.display(), line + 1, at(&wanted), at(is))
    })
}

fn all_right(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 accepts)", wrong.join("\n\n"));
}

#[test]
fn every_set_of_values_gives_what_is_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        wrong.extend(golden(&case.directory.join("output.yaml"), &case.output()));
    }
    all_right(&wrong);
}

#[test]
fn the_notes_of_every_set_of_values_are_what_is_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        let values = case.values();
        let flags =
            ["install", "tidelock", "charts/tidelock", "--namespace", "tidelock", "--dry-run=client", "--values"];
        let (success, output, log) = run("helm", &[&flags[..], &[&values]].concat());
        assert!(success, "{}: {log}", case.name);
        let (_, notes) = output.rsplit_once("\nNOTES:\n").expect("an installation prints notes");
        wrong.extend(golden(&case.directory.join("notes.txt"), notes));
    }
    all_right(&wrong);
}

#[test]
fn values_that_can_t_work_are_refused_with_what_to_change() {
    let refused: &[(&[&str], &str)] = &[
        (&["--set", "cach.sizeLimit=1Gi"], "additional properties 'cach' not allowed"),
        (&["--set", "log.colour=red"], "at '/log': additional properties 'colour' not allowed"),
        (
            &["--set", "rbac.mode=admin"],
            "at '/rbac/mode': value must be one of 'impersonate', 'namespaced', 'clusterAdmin'",
        ),
        (&["--set-string", "replicas=two"], "at '/replicas': got string, want integer"),
        (&["--set", "repositories[0].url=https://git.example.com"], "at '/repositories/0': missing property 'name'"),
        (
            &["--set", "repositories[0].name=git"],
            "repositories: `git` needs either url (one repository) or urlPrefix (all repositories below it)",
        ),
        (
            &[
                "--set",
                "repositories[0].name=git,repositories[0].url=https://git.example.com,repositories[0].password=x",
            ],
            "at '/repositories/0': additional properties 'password' not allowed",
        ),
        (
            &["--set", "image.repository=registry.example.com/tidelock"],
            "put `registry.example.com` into image.registry",
        ),
        (&["--set", "rbac.mode=namespaced"], "rbac.namespaces is empty: list the namespaces that may be deployed to"),
        (
            &["--set", "rbac.namespaces[0]=shop"],
            "rbac.namespaces is for rbac.mode `namespaced`, and the mode is `impersonate`",
        ),
        (
            &["--set", "rbac.mode=namespaced,rbac.namespaces[0]=shop,rbac.aggregate=true"],
            "rbac.aggregate makes ClusterRoles, and rbac.mode `namespaced` promises none",
        ),
        (&["--set", "egress.proxy.existingSecret=login"], "egress.proxy is described and egress.proxy.url is empty"),
        (&["--set", "webhook.port=8080"], "webhook.port and metrics.port are both 8080"),
        (&["--set", "webhook.ingress.enabled=true"], "webhook.ingress.enabled is set and webhook.enabled is not"),
        (
            &["--set", "cache.existingClaim=a,cache.persistentVolumeClaim.enabled=true"],
            "cache.existingClaim and cache.persistentVolumeClaim.enabled are two ways to the same volume",
        ),
        (
            &["--set", "fargate=true,cache.sizeLimit=21Gi"],
            "cache.sizeLimit is 21Gi, and a pod on Fargate has 20Gi at most",
        ),
        (&["--set", "fargate=true,cache.persistentVolumeClaim.enabled=true"], "which Fargate can't mount"),
        (&["--set", "fargate=true,serviceAccount.podIdentity=true"], "which Fargate has not: use IRSA"),
    ];
    for (flags, sentence) in refused {
        let error = template(flags).expect_err(&format!("{flags:?} is accepted"));
        assert!(error.contains(sentence), "{flags:?} is refused, and not with `{sentence}`:\n{error}");
    }
}

/// The blocks of YAML on a page.
fn blocks_of_yaml(page: &str) -> Vec<String> {
    let text = read(page);
    let after = text.split("```yaml\n").skip(1);
    after.map(|rest| rest.split_once("\n```").expect("a block ends").0.to_owned()).collect()
}

#[test]
fn the_chart_takes_the_values_that_the_documentation_shows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    for page in ["charts/tidelock/README.md", "docs/install-eks.md"] {
        let blocks = blocks_of_yaml(page);
        assert!(!blocks.is_empty(), "{page} shows no values");
        // Objects to apply are shown too; values have no apiVersion.
        for block in blocks.into_iter().filter(|block| !block.contains("apiVersion:")) {
            let digest = format!("sha256:{}", "0".repeat(64));
            fs::write(&file, block.replace("sha256:…", &digest)).unwrap();
            let result = template(&["--values", file.to_str().unwrap()]);
            assert!(result.is_ok(), "{page}: {result:?}\n{block}");
        }
    }
}

#[test]
fn a_password_in_the_url_of_the_proxy_is_refused_and_not_repeated() {
    let error = template(&["--set", "egress.proxy.url=http://user:pass-word@proxy:3128"]).unwrap_err();
    assert!(error.contains("put them into a Secret with the keys username and password"), "{error}");
    assert!(!error.contains("pass-word"), "{error}");
}

#[test]
fn the_definitions_stay_when_their_release_goes() {
    let fixed = ["template", "tidelock-crds", "charts/tidelock-crds", "--kube-version", KUBERNETES];
    let definitions = |flags: &[&str]| {
        let (success, output, log) = run("helm", &[&fixed[..], flags].concat());
        assert!(success, "{log}");
        documents(&output)
    };
    let kept = definitions(&[]);
    assert_eq!(kept.len(), fs::read_dir(root().join("crds")).unwrap().count());
    for definition in &kept {
        assert_eq!(
            text(definition, "/metadata/annotations/helm.sh~1resource-policy"),
            "keep",
            "{}",
            identity(definition)
        );
    }
    for definition in definitions(&["--set", "keep=false,labels.team=platform"]) {
        assert_eq!(definition.pointer("/metadata/annotations/helm.sh~1resource-policy"), None);
        assert_eq!(text(&definition, "/metadata/labels/team"), "platform");
    }
}
