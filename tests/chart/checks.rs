//! What holds for all outputs: linters, images, rights, security contexts, versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::Parser as _;
use serde_json::Value;
use tidelock::cli::Arguments;

use super::{cases, documents, identity, read, root, run, template, text};

/// Hosts that a cluster without a gateway can't reach.
const PUBLIC_HOSTS: [&str; 10] = [
    "ghcr.io",
    "docker.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "github.com",
    "githubusercontent.com",
    "grafana.com",
];

fn pods(object: &Value) -> Option<&Value> {
    match text(object, "/kind") {
        "Deployment" => object.pointer("/spec/template/spec"),
        "Pod" => object.pointer("/spec"),
        _ => None,
    }
}

fn containers(object: &Value) -> Vec<&Value> {
    let Some(pod) = pods(object) else { return Vec::new() };
    ["containers", "initContainers"].iter().filter_map(|list| pod[*list].as_array()).flatten().collect()
}

fn images(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().flat_map(containers).map(|container| text(container, "/image").to_owned()).collect()
}

#[test]
fn the_charts_pass_helm_lint() {
    for chart in ["charts/tidelock", "charts/tidelock-crds"] {
        let (success, output, log) = run("helm", &["lint", "--strict", chart]);
        assert!(success, "{output}{log}");
    }
    for case in cases() {
        let values = case.values();
        let (success, output, log) = run("helm", &["lint", "--strict", "charts/tidelock", "--values", &values]);
        assert!(success, "{}: {output}{log}", case.name);
    }
}

/// The checks that an output does not pass, as kube-score sees it.
fn faults(output: &str) -> BTreeMap<String, String> {
    /// The grade of a check that is passed.
    const PASSED: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("output.yaml");
    fs::write(&file, output).unwrap();
    let flags = ["score", "--all-default-optional", "--kubernetes-version=v1.35", "--output-format=json"];
    let (_, report, log) = run("kube-score", &[&flags[..], &[file.to_str().unwrap()]].concat());
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}{log}"));
    let mut faults = BTreeMap::new();
    for object in report.as_array().unwrap() {
        for check in object["checks"].as_array().unwrap() {
            if check["skipped"] == false && check["grade"].as_u64().unwrap() < PASSED {
                let said = format!("{}: {}", text(object, "/object_name"), check["comments"]);
                faults.insert(text(check, "/check/id").to_owned(), said);
            }
        }
    }
    faults
}

/// `tests/chart/kube-score.yaml` lists what need not be passed, each with its reason.
#[test]
fn every_output_passes_kube_score() {
    let settings: Value = serde_yaml::from_str(&read("tests/chart/kube-score.yaml")).unwrap();
    let excluded = |list: &Value| -> BTreeSet<String> {
        let entries = list.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                assert!(!text(entry, "/reason").is_empty(), "no reason is given for {entry}");
                text(entry, "/check").to_owned()
            })
            .collect()
    };
    let everywhere = excluded(&settings["everywhere"]);
    for case in cases() {
        let faults = faults(&case.output());
        let here = excluded(&settings["cases"][&case.name]);
        let found: BTreeSet<String> = faults.keys().filter(|check| !everywhere.contains(*check)).cloned().collect();
        assert_eq!(found, here, "{}: {faults:#?}", case.name);
    }
}

#[test]
fn with_a_mirror_no_public_host_is_named_anywhere() {
    for case in cases() {
        let registry = "111122223333.dkr.ecr.eu-central-1.amazonaws.com";
        let output =
            template(&["--values", &case.values(), "--set", &format!("global.imageRegistry={registry}")]).unwrap();
        for host in PUBLIC_HOSTS {
            let found: Vec<&str> = output.lines().filter(|line| line.contains(host)).collect();
            assert!(found.is_empty(), "{}: {host} is named: {found:?}", case.name);
        }
        let images = images(&documents(&output));
        assert!(!images.is_empty(), "{}", case.name);
        for image in images {
            assert!(image.starts_with(&format!("{registry}/")), "{}: {image}", case.name);
        }
    }
}

#[test]
fn a_digest_stands_in_for_the_tag() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let flag = format!("image.digest={digest},image.registry=registry.example.com:5000,image.tag=v9");
    let output = template(&["--set", &flag]).unwrap();
    let wanted = BTreeSet::from([format!("registry.example.com:5000/tidelock/tidelock@{digest}")]);
    assert_eq!(images(&documents(&output)), wanted);
}

#[test]
fn the_published_list_of_images_is_that_of_the_chart() {
    let listed: BTreeSet<String> =
        read("images.txt").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(listed, images(&documents(&template(&[]).unwrap())), "images.txt");
}

#[test]
fn pods_meet_the_restricted_pod_security_standard() {
    for case in cases() {
        for object in documents(&case.output()) {
            let Some(pod) = pods(&object) else { continue };
            let what = format!("{}: {}", case.name, identity(&object));
            let flag = |pointer: &str| pod.pointer(pointer).and_then(Value::as_bool);
            assert_eq!(flag("/securityContext/runAsNonRoot"), Some(true), "{what}");
            assert_eq!(text(pod, "/securityContext/seccompProfile/type"), "RuntimeDefault", "{what}");
            for field in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(pod.get(field), None, "{what}");
            }
            for container in containers(&object) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{what}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{what}");
                assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{what}");
                assert_eq!(context["capabilities"].get("add"), None, "{what}");
                assert_eq!(context.get("privileged"), None, "{what}");
            }
            let kinds = [
                "emptyDir",
                "persistentVolumeClaim",
                "ephemeral",
                "configMap",
                "secret",
                "projected",
                "downwardAPI",
                "csi",
            ];
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                assert!(kinds.iter().any(|kind| volume.get(*kind).is_some()), "{what}: {volume}");
            }
        }
    }
}

#[test]
fn pods_are_of_the_guaranteed_class() {
    for case in cases() {
        for object in documents(&case.output()) {
            for container in containers(&object) {
                for resource in ["cpu", "memory"] {
                    let [request, limit] =
                        ["requests", "limits"].map(|kind| container["resources"][kind][resource].clone());
                    assert!(!request.is_null(), "{}: {}", case.name, identity(&object));
                    assert_eq!(request, limit, "{}: {}: {resource}", case.name, identity(&object));
                }
            }
        }
    }
}

/// Every rule of the Roles and ClusterRoles of an output, with the name of the role.
fn rules(objects: &[Value]) -> Vec<(String, &Value)> {
    let roles = objects.iter().filter(|object| matches!(text(object, "/kind"), "Role" | "ClusterRole"));
    roles
        .flat_map(|role| role["rules"].as_array().into_iter().flatten().map(move |rule| (identity(role), rule)))
        .collect()
}

fn has(rule: &Value, field: &str, word: &str) -> bool {
    rule[field].as_array().is_some_and(|words| words.iter().any(|each| each == word))
}

#[test]
fn only_the_mode_that_says_so_has_rights_by_wildcard_or_in_the_whole_cluster() {
    for case in cases().into_iter().filter(|case| case.name != "cluster-admin") {
        let objects = documents(&case.output());
        for object in &objects {
            assert!(!text(object, "/kind").starts_with("ClusterRole"), "{}: {}", case.name, identity(object));
        }
        for (role, rule) in rules(&objects) {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!has(rule, field, "*"), "{}: {role}: {rule}", case.name);
            }
        }
    }
}

/// The Role of the release's own namespace never lists Secrets, and reads by name those that values name.
#[test]
fn secrets_are_read_by_name() {
    for case in cases() {
        let objects = documents(&case.output());
        for (role, rule) in rules(&objects) {
            if !role.starts_with("Role tidelock/") || !has(rule, "resources", "secrets") {
                continue;
            }
            if has(rule, "verbs", "create") {
                assert_eq!(rule["verbs"], serde_json::json!(["create"]), "{}: {role}", case.name);
                continue;
            }
            assert_eq!(rule["verbs"], serde_json::json!(["get"]), "{}: {role}", case.name);
            let named: BTreeSet<String> = rule["resourceNames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
            let mut wanted = BTreeSet::from(["tidelock-store-key".to_owned()]);
            for object in &objects {
                for reference in ["credentialsSecretRef", "caSecretRef", "clientCertificateSecretRef"] {
                    let name = text(object, &format!("/spec/{reference}/name"));
                    if !name.is_empty() {
                        wanted.insert(name.to_owned());
                    }
                }
            }
            match case.name.as_str() {
                "webhook" => wanted.extend(["git-webhooks".to_owned()]),
                "impersonate" => wanted.extend(["payments-git".to_owned(), "search-git".to_owned()]),
                _ => {}
            }
            assert_eq!(named, wanted, "{}: {role}", case.name);
        }
    }
}

#[test]
fn the_charts_are_of_the_version_of_the_program() {
    for chart in ["tidelock", "tidelock-crds"] {
        let description: Value = serde_yaml::from_str(&read(&format!("charts/{chart}/Chart.yaml"))).unwrap();
        assert_eq!(
            text(&description, "/appVersion"),
            env!("CARGO_PKG_VERSION"),
            "appVersion of charts/{chart}/Chart.yaml"
        );
        assert_eq!(text(&description, "/name"), chart);
    }
}

#[test]
fn a_release_before_this_one_is_kept_for_tests_of_upgrades() {
    for chart in ["tidelock", "tidelock-crds"] {
        let (success, now, _) = run("helm", &["show", "chart", &format!("charts/{chart}")]);
        assert!(success);
        let kept: Vec<String> = fs::read_dir(root().join("e2e/previous"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                name.strip_prefix(&format!("{chart}-"))
                    .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            })
            .collect();
        let [kept] = kept.as_slice() else { panic!("e2e/previous holds {kept:?} of {chart}: one is wanted") };
        let (success, before, log) = run("helm", &["show", "chart", &format!("e2e/previous/{kept}")]);
        assert!(success, "{log}");
        let version = |text: &str| serde_yaml::from_str::<Value>(text).unwrap()["version"].as_str().unwrap().to_owned();
        assert_ne!(version(&before), version(&now), "{kept} is of the same version as the chart");
    }
}

#[test]
fn the_program_takes_the_arguments_that_the_chart_gives_it() {
    for case in cases() {
        for object in documents(&case.output()) {
            for container in containers(&object) {
                let given = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
                let parsed = Arguments::try_parse_from(std::iter::once("tidelock").chain(given));
                let error = parsed.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(error.is_empty(), "{}: {}: {error}", case.name, identity(&object));
            }
        }
    }
}
