use super::*;

fn parsed(entries: &[(&str, &str)]) -> (Customizations, Vec<String>) {
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (found, problems) = parse(&data);
    (found, problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect())
}

fn ignored(group: &str, kind: &str, pointer: &str) -> IgnoreDifferences {
    IgnoreDifferences {
        group: group.to_owned(),
        kind: kind.to_owned(),
        json_pointers: vec![pointer.to_owned()],
        ..IgnoreDifferences::default()
    }
}

#[test]
fn without_data_only_the_shipped_exclusions_hold() {
    let (found, problems) = parsed(&[]);
    assert_eq!((found, problems), (Customizations::default(), vec![]));
}

#[test]
fn keys_of_one_kind_are_read() {
    let (found, problems) = parsed(&[
        ("resource.customizations.health.cert-manager.io_Certificate", "return {}"),
        ("resource.customizations.useOpenLibs.cert-manager.io_Certificate", "true"),
        ("resource.customizations.health.Pod", "return nil"),
        ("resource.customizations.ignoreDifferences.all", "managedFieldsManagers: [kube-controller-manager]"),
        (
            "resource.customizations.ignoreDifferences.apps_Deployment",
            "jsonPointers: [/spec/replicas]\njqPathExpressions: ['.spec.x']",
        ),
        ("resource.customizations.actions.apps_Deployment", "whatever: ["),
        ("url", "https://cd.example"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        found.health_scripts,
        [
            HealthScript {
                kinds: KindPattern::of_key("Pod").unwrap(),
                origin: "resource.customizations.health.Pod".to_owned(),
                source: "return nil".to_owned(),
                open_libraries: false,
            },
            HealthScript {
                kinds: KindPattern::of_key("cert-manager.io_Certificate").unwrap(),
                origin: "resource.customizations.health.cert-manager.io_Certificate".to_owned(),
                source: "return {}".to_owned(),
                open_libraries: true,
            },
        ]
    );
    assert_eq!(
        found.ignore_differences,
        [
            IgnoreDifferences {
                jq_path_expressions: vec![".spec.x".to_owned()],
                ..ignored("apps", "Deployment", "/spec/replicas")
            },
            IgnoreDifferences {
                json_pointers: vec![],
                managed_fields_managers: vec!["kube-controller-manager".to_owned()],
                ..ignored("*", "*", "")
            },
        ]
    );
}

#[test]
fn one_document_for_all_kinds_has_wildcards_and_yields_to_keys_of_one_kind() {
    let (found, problems) = parsed(&[
        (
            "resource.customizations",
            "'*.crossplane.io/*':\n  health.lua: |\n    return 1\n  health.lua.useOpenLibs: true\napps/Deployment:\n  health.lua: return 2\n  ignoreDifferences: |\n    jsonPointers: [/a]\n  actions: x\nargoproj.io/Rollout:\n  ignoreDifferences:\n    jsonPointers: [/b]\n",
        ),
        ("resource.customizations.health.apps_Deployment", "return 3"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let scripts: Vec<_> = found
        .health_scripts
        .iter()
        .map(|script| (script.kinds.as_key(), script.source.as_str(), script.open_libraries))
        .collect();
    assert_eq!(
        scripts,
        [("apps_Deployment".to_owned(), "return 3", false), ("*.crossplane.io_*".to_owned(), "return 1\n", true)]
    );
    assert_eq!(found.health_scripts[1].origin, "resource.customizations, `*.crossplane.io/*`, health.lua");
    assert_eq!(
        found.ignore_differences,
        [ignored("apps", "Deployment", "/a"), ignored("argoproj.io", "Rollout", "/b")]
    );
}

#[test]
fn wildcards_cross_dots_and_all_includes_core() {
    let pattern = KindPattern::of_path("*.crossplane.io/*").unwrap();
    assert!(pattern.matches("s3.aws.crossplane.io", "Bucket"));
    assert!(!pattern.matches("crossplane.example", "Bucket"));
    for all in [KindPattern::all(), KindPattern::of_path("*/*").unwrap(), KindPattern::of_path("*").unwrap()] {
        assert!(all.matches("", "Pod") && all.matches("apps", "Deployment"));
    }
    let core = KindPattern::of_path("Pod").unwrap();
    assert!(core.matches("", "Pod") && !core.matches("x", "Pod"));
}

#[test]
fn health_rules_in_cel_are_read() {
    let (found, problems) = parsed(&[(
        "resource.health.cel.shop.example_Cart",
        "current: status.phase == 'Ready'\ninProgress: '!has(status.phase)'\n",
    )]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        found.health_expressions,
        [HealthExpression {
            origin: "resource.health.cel.shop.example_Cart".to_owned(),
            rule: HealthCheckExpression {
                api_version: "shop.example".to_owned(),
                kind: "Cart".to_owned(),
                in_progress: "!has(status.phase)".to_owned(),
                failed: String::new(),
                suspended: String::new(),
                current: "status.phase == 'Ready'".to_owned(),
            },
        }]
    );
}

#[test]
fn a_problem_names_its_key_and_leaves_the_others_in_force() {
    let (found, problems) = parsed(&[
        (
            "resource.customizations",
            "apps/Deployment: {health.lua: 3, health.lua.useOpenLibs: maybe, helth: x}\n/: {}\nPod: text\nService: {health.lua: return 1}\n",
        ),
        ("resource.customizations.health.a_b_C", "return {}"),
        ("resource.customizations.health.Node", "return 2"),
        ("resource.customizations.ignoreDifferences.Secret", "jsonPointer: [/a]"),
        ("resource.customizations.ignoreDifferences.Service", "{}"),
        ("resource.customizations.useOpenLibs.Job", "true"),
        ("resource.customizations.useOpenLibs.Node", "perhaps"),
        ("resource.exclusions", "- kind: [x]\n"),
        ("resource.health.cel.Cart", "inProgress: 'true'"),
        ("resource.helth.Pod", "x"),
    ]);
    let sources: Vec<_> = found.health_scripts.iter().map(|script| script.source.as_str()).collect();
    assert_eq!(sources, ["return 2", "return 1"]);
    assert!(found.excludes("coordination.k8s.io", "Lease"));
    let keys: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "resource.customizations, `/`",
            "resource.customizations, `Pod`",
            "resource.customizations, `apps/Deployment`, health.lua",
            "resource.customizations, `apps/Deployment`, health.lua.useOpenLibs",
            "resource.customizations, `apps/Deployment`, helth",
            "resource.customizations.health.a_b_C",
            "resource.customizations.ignoreDifferences.Secret",
            "resource.customizations.ignoreDifferences.Service",
            "resource.customizations.useOpenLibs.Job",
            "resource.customizations.useOpenLibs.Node",
            "resource.exclusions",
            "resource.health.cel.Cart",
            "resource.helth.Pod",
        ],
        "{problems:#?}"
    );
}

#[test]
fn exclusions_are_those_of_argo_cd_until_the_list_is_given() {
    let (found, _) = parsed(&[]);
    for (group, kind, excluded) in [
        ("", "Endpoints", true),
        ("discovery.k8s.io", "EndpointSlice", true),
        ("coordination.k8s.io", "Lease", true),
        ("authorization.k8s.io", "SubjectAccessReview", true),
        ("cert-manager.io", "CertificateRequest", true),
        ("cert-manager.io", "Certificate", false),
        ("wgpolicyk8s.io", "PolicyReport", true),
        ("", "Event", true),
        ("events.k8s.io", "Event", true),
        ("metrics.k8s.io", "NodeMetrics", true),
        ("", "ConfigMap", false),
        ("apps", "Deployment", false),
    ] {
        assert_eq!(found.excludes(group, kind), excluded, "{group}/{kind}");
    }
    let (own, problems) = parsed(&[(
        "resource.exclusions",
        "- apiGroups: ['*.example']\n  clusters: ['https://kubernetes.default.svc']\n- kinds: [Secret]\n  clusters: ['https://elsewhere']\n",
    )]);
    assert_eq!(problems, Vec::<String>::new());
    assert!(own.excludes("shop.example", "Cart") && own.excludes("", "Event"));
    assert!(!own.excludes("coordination.k8s.io", "Lease") && !own.excludes("", "Secret"));
    let (none, _) = parsed(&[("resource.exclusions", "")]);
    assert!(!none.excludes("coordination.k8s.io", "Lease"));
}

#[test]
fn inclusions_leave_out_everything_else_and_exclusions_win() {
    let (found, _) = parsed(&[("resource.inclusions", "- apiGroups: ['', apps, coordination.k8s.io]\n")]);
    assert!(!found.excludes("apps", "Deployment") && !found.excludes("", "Pod"));
    assert!(found.excludes("batch", "Job") && found.excludes("coordination.k8s.io", "Lease"));
}
