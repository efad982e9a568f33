//! RBAC modes on a real API server: an operator that has the rights of `docs/rbac.md` and no others. The audit log says what it
//! used, and as whom.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::replay::{Grants, Replay, Use};
use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::cluster::{APPLICATION, CONFIG_MAP, Cluster, name_of};
use crate::support::git::{Change, file};
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY_CREDENTIALS, is_synced};
use crate::support::journals::Mark;
use crate::support::manifests::config_map;
use crate::support::testbed::Testbed;

const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// What touching the objects of a kind needs on the test bed's server, which streams lists.
const TOUCH: [&str; 5] = ["create", "delete", "get", "patch", "watch"];
/// Objects whose record is too long for a status.
const MANY: usize = 80;

/// A Role and its binding to a ServiceAccount.
fn role(name: &str, namespace: &str, rules: Value, account: (&str, &str)) -> [Value; 2] {
    [
        json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": rules}),
        json!({
            "apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": account.0, "name": account.1}],
        }),
    ]
}

/// What `docs/rbac.md` says the operator needs for itself.
fn own_rules() -> Value {
    json!([
        {"apiGroups": ["tidelock.dev"], "resources": ["applications"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["applications/status"], "verbs": ["patch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["appprojects"], "verbs": ["list", "watch", "create"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["appprojects"], "verbs": ["get"], "resourceNames": ["default"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["appprojects/status"], "verbs": ["patch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["repositories", "egressproxies", "egresspolicies"], "verbs": ["list", "watch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["repositories/status", "egressproxies/status"], "verbs": ["get", "patch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["egresspolicies/status"], "verbs": ["patch"]},
        {"apiGroups": ["tidelock.dev"], "resources": ["inventories"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"], "resourceNames": ["tidelock-controller"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"],
         "resourceNames": [PROXY_CREDENTIALS, GIT_CREDENTIALS, GIT_CA, "tidelock-store-key"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"],
         "resourceNames": ["tidelock-cm", "tidelock-gpg-keys-cm", "tidelock-ssh-signers-cm", "tidelock-cosign-keys-cm"]},
    ])
}

/// An installation with these rights in its own namespace, and the objects that give them.
async fn limited(name: &str) -> (Installation, Vec<Value>) {
    let installation = Installation::prepare_without_rights(name).await;
    let namespace = installation.namespace.clone();
    let granted = role("tidelock", &namespace, own_rules(), (&namespace, "tidelock")).to_vec();
    apply_all(&installation.cluster, &granted).await;
    installation.apply_access().await;
    (installation, granted)
}

async fn apply_all(cluster: &Cluster, objects: &[Value]) {
    for object in objects {
        cluster.apply(object.clone()).await;
    }
}

/// A ServiceAccount of a tenant with a Role in its namespace; the objects that give it its rights.
async fn tenant(cluster: &Cluster, namespace: &str, name: &str, rules: Value) -> Vec<Value> {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}});
    cluster.apply(account).await;
    let granted = role(name, namespace, rules, (namespace, name)).to_vec();
    apply_all(cluster, &granted).await;
    granted
}

fn may_impersonate(installation: &Installation, namespace: &str, names: &[&str]) -> [Value; 2] {
    let rules = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"], "resourceNames": names}]);
    role("tidelock-impersonate", namespace, rules, (&installation.namespace, "tidelock"))
}

fn touch(resources: &[&str]) -> Value {
    json!([{"apiGroups": [""], "resources": resources, "verbs": TOUCH}])
}

fn project(name: &str, namespaces: &[&str], accounts: Value) -> Value {
    let destinations: Vec<Value> =
        namespaces.iter().map(|name| json!({"server": "https://kubernetes.default.svc", "namespace": name})).collect();
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": name},
        "spec": {
            "sourceRepos": ["*"], "destinations": destinations, "destinationServiceAccounts": accounts,
            // Without effect, which its status tells.
            "orphanedResources": {},
        },
    })
}

fn entry(namespace: &str, account: &str) -> Value {
    json!({"server": "https://kubernetes.default.svc", "namespace": namespace, "defaultServiceAccount": account})
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports: [{{port: 80}}]\n")
}

/// A hook that is done as soon as it is there.
fn hook(name: &str) -> String {
    let annotations = "  annotations:\n    argocd.argoproj.io/hook: PreSync\n    argocd.argoproj.io/hook-delete-policy: HookSucceeded\n";
    config_map(name, "1").replacen("metadata:\n", &format!("metadata:\n{annotations}"), 1)
}

fn in_namespace(manifest: String, namespace: &str) -> String {
    manifest.replacen("metadata:\n", &format!("metadata:\n  namespace: {namespace}\n"), 1)
}

/// ConfigMaps with names so long that their record leaves the status.
fn many() -> String {
    (0..MANY).map(|number| format!("---\n{}", config_map(&format!("{number:a>240}"), "1"))).collect()
}

/// Waits until an Application is not ready for a reason, with these parts in its message.
async fn fails(installation: &Installation, name: &str, reason: &str, parts: &[&str]) {
    let object =
        installation.wait_application(name, &format!("is {reason}"), |object| ready_reason(object) == reason).await;
    for part in parts {
        assert!(ready_message(&object).contains(part), "{part} is not in: {}", ready_message(&object));
    }
}

fn shown<'a>(uses: impl IntoIterator<Item = &'a Use>) -> Vec<String> {
    uses.into_iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_operator_that_may_only_impersonate_does_all_its_work_as_the_accounts_that_projects_name() {
    let mark = Mark::end_of(&Testbed::shared().audit_log);
    let (mut installation, mut granted) = limited("impersonate").await;
    let (shop, cart) = (installation.target("shop").await, installation.target("cart").await);
    let cluster = installation.cluster.clone();
    let mut shop_rights = tenant(&cluster, &shop, "deployer", touch(&["configmaps"])).await;
    let successor_rights = tenant(&cluster, &shop, "successor", touch(&["configmaps"])).await;
    let cart_rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": TOUCH},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "watch"]},
    ]);
    tenant(&cluster, &cart, "deployer", cart_rules).await;
    for (namespace, names) in [(&shop, &["deployer", "successor"][..]), (&cart, &["deployer"][..])] {
        let more = may_impersonate(&installation, namespace, names);
        apply_all(&cluster, &more).await;
        granted.extend(more);
    }
    let accounts = |shops: &str| json!([entry(&cart, "deployer"), entry(&shop, shops), entry("*", "deployer")]);
    installation.apply(project("tenants", &[&shop, &cart], accounts("deployer"))).await;
    let policy = json!({"apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressPolicy", "metadata": {"name": "unheeded"}, "spec": {}});
    installation.apply(policy).await;

    let repository = installation.repository("tenants");
    let first = repository.commit([
        ("shop/kept.yaml", file(config_map("kept", "1"))),
        ("shop/pruned.yaml", file(config_map("pruned", "1"))),
        ("shop/hook.yaml", file(hook("prepares"))),
        ("cart/settings.yaml", file(config_map("settings", "1"))),
        ("unwatched/secret.yaml", file("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n".to_owned())),
        ("uncreated/service.yaml", file(service("web"))),
        ("borrower/kept.yaml", file(in_namespace(config_map("borrowed", "1"), &cart))),
        ("intruder/kept.yaml", file(in_namespace(config_map("intruder", "1"), &shop))),
    ]);
    let of_tenants = |name: &str, path: &str, namespace: &str| {
        Application::named(name, &repository.url, path, namespace).spec("project", json!("tenants")).with_finalizer()
    };
    for (name, namespace) in
        [("shop", &shop), ("cart", &cart), ("unwatched", &cart), ("uncreated", &cart), ("intruder", &cart)]
    {
        installation.declare(of_tenants(name, name, namespace)).await;
    }
    installation.declare(Application::named("nobody", &repository.url, "shop", &shop)).await;
    // It would have its own objects touched by an account that the project has for another namespace.
    installation.declare(of_tenants("borrower", "borrower", "kube-public")).await;
    installation.operator.add_argument("--require-impersonation");
    installation.operator.start().await;

    // Each does what its account may, and nobody is held up by another.
    installation.synced("shop", &first).await;
    installation.synced("cart", &first).await;
    let account = format!("system:serviceaccount:{cart}:deployer");
    let advice = format!("asked as the ServiceAccount `{cart}/deployer`, which the project names");
    fails(
        &installation,
        "unwatched",
        "Forbidden",
        &[
            &format!("can't watch Secret in the namespace `{cart}`"),
            &format!(
                "User \"{account}\" cannot watch resource \"secrets\" in API group \"\" in the namespace \"{cart}\""
            ),
            &advice,
        ],
    )
    .await;
    fails(
        &installation,
        "uncreated",
        "Forbidden",
        &[
            "Service `web` (uncreated/service.yaml",
            &format!(
                "User \"{account}\" cannot patch resource \"services\" in API group \"\" in the namespace \"{cart}\""
            ),
            &advice,
        ],
    )
    .await;
    fails(
        &installation,
        "intruder",
        "Forbidden",
        &[&format!(
            "User \"{account}\" cannot watch resource \"configmaps\" in API group \"\" in the namespace \"{shop}\""
        )],
    )
    .await;
    fails(
        &installation,
        "nobody",
        "ServiceAccountUnset",
        &[
            "project `default`",
            &format!("the namespace `{shop}`"),
            "https://kubernetes.default.svc",
            "defaultServiceAccount: NAME",
        ],
    )
    .await;

    fails(
        &installation,
        "borrower",
        "NotPermitted",
        &["the ServiceAccount `kube-public/deployer`", "project `tenants`"],
    )
    .await;

    // Drift is healed and what git drops is pruned.
    let drifted = json!({"data": {"value": "by hand"}});
    cluster.merge(CONFIG_MAP, &shop, "kept", drifted.clone()).await;
    installation
        .wait("the drift is healed", async || {
            let found = cluster.must_get(CONFIG_MAP, &shop, "kept").await;
            if found["data"]["value"] == "1" { Ok(()) } else { Err(found["data"].to_string()) }
        })
        .await;
    let second = repository.commit([("shop/pruned.yaml", Change::Gone), ("shop/many.yaml", file(many()))]);
    installation.follow("shop", &second).await;
    assert!(cluster.get(CONFIG_MAP, &shop, "pruned").await.is_none());

    // Another account takes over: what was there stays, and the new one heals it.
    let uid = cluster.must_get(CONFIG_MAP, &shop, "kept").await["metadata"]["uid"].clone();
    let before_the_change = Mark::end_of(&Testbed::shared().audit_log);
    installation.apply(project("tenants", &[&shop, &cart], accounts("successor"))).await;
    cluster.merge(CONFIG_MAP, &shop, "kept", drifted).await;
    let successor = format!("system:serviceaccount:{shop}:successor");
    installation
        .wait("the successor heals the drift", async || {
            let lines = before_the_change.lines();
            let replay = Replay::of(lines.iter().map(String::as_str), &installation.user, &Grants::default());
            let done = replay.acted_as.get(&successor).into_iter().flat_map(|uses| uses.keys());
            let found = cluster.must_get(CONFIG_MAP, &shop, "kept").await;
            let healed = done.clone().any(|used| used.verb == "patch" && used.name == "kept");
            if healed && found["data"]["value"] == "1" { Ok(()) } else { Err(format!("{:?}", shown(done))) }
        })
        .await;
    assert_eq!(cluster.must_get(CONFIG_MAP, &shop, "kept").await["metadata"]["uid"], uid);

    // What is kept outside of the status is found again, and taken away with what it was about.
    installation.operator.stop().await;
    installation.operator.start().await;
    let third =
        repository.commit([("shop/many.yaml", Change::Gone), ("shop/pruned.yaml", file(config_map("pruned", "2")))]);
    installation.follow("shop", &third).await;
    for _ in 0..2 {
        // The same news twice.
        let operation = json!({"operation": {"sync": {}}});
        let before = installation.application("shop").await["status"]["operationState"]["startedAt"].clone();
        cluster.merge(APPLICATION, &installation.namespace, "shop", operation).await;
        installation
            .wait_application("shop", "is synced as it was asked to", |object| {
                is_synced(object, &third) && object["status"]["operationState"]["startedAt"] != before
            })
            .await;
    }
    cluster.delete(APPLICATION, &installation.namespace, "shop").await;
    installation
        .wait("the Application and all it owned are gone", async || {
            let left = cluster.list_labelled(CONFIG_MAP, &shop, "tidelock.dev/instance").await;
            let application = cluster.get(APPLICATION, &installation.namespace, "shop").await;
            if left.is_empty() && application.is_none() {
                Ok(())
            } else {
                Err(format!(
                    "{:?} {:#}",
                    left.iter().map(name_of).collect::<Vec<_>>(),
                    application.unwrap_or_default()["status"]
                ))
            }
        })
        .await;
    installation.operator.stop().await;

    let lines = mark.lines();
    let lines = || lines.iter().map(String::as_str);
    let replay = Replay::of(lines(), &installation.user, &Grants::of(&installation.user, "", &granted));
    assert_eq!(replay.complaints(), Vec::<String>::new(), "what is granted is what is used");
    assert_eq!(Replay::of_all_secrets(lines(), &installation.user, "tidelock.dev/instance"), Vec::<String>::new());
    let strangers: Vec<String> =
        shown(replay.used.keys().filter(|used| used.verb != "impersonate" && used.namespace != installation.namespace));
    assert_eq!(strangers, Vec::<String>::new(), "nothing is touched by the operator itself");
    shop_rights.extend(successor_rights);
    for (name, uses) in &replay.acted_as {
        let own_namespace = if name.contains(&shop) { &shop } else { &cart };
        let elsewhere = shown(uses.keys().filter(|used| used.namespace != *own_namespace));
        assert_eq!(elsewhere, Vec::<String>::new(), "{name} stays where it is");
        let rights = Grants::of(name, "", &shop_rights);
        let beyond: BTreeSet<&Use> = uses.keys().filter(|used| !rights.allow(used)).collect();
        assert!(name.contains(&cart) || beyond.is_empty(), "{name}: {:?}", shown(beyond));
    }
    let unused: Vec<String> = replay
        .unused_of(&Grants::of(&successor, "", &shop_rights), &successor)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(unused, Vec::<String>::new(), "an account needs no more than the documented verbs, and all of them");
    installation.finish_stopped().await;
}

#[tokio::test]
async fn an_operator_with_roles_in_some_namespaces_deploys_there_and_nowhere_else() {
    let mark = Mark::end_of(&Testbed::shared().audit_log);
    let (mut installation, mut granted) = limited("namespaced").await;
    let (inside, outside) = (installation.target("in").await, installation.target("out").await);
    let cluster = installation.cluster.clone();
    let there = role("tidelock", &inside, touch(&["configmaps"]), (&installation.namespace, "tidelock"));
    apply_all(&cluster, &there).await;
    granted.extend(there);

    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {inside}\n");
    let repository = installation.repository("apps");
    let first = repository.commit([
        ("app/kept.yaml", file(config_map("kept", "1"))),
        ("app/pruned.yaml", file(config_map("pruned", "1"))),
        ("elsewhere/foreign.yaml", file(in_namespace(config_map("foreign", "1"), &outside))),
        ("scoped/namespace.yaml", file(namespace)),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &inside).with_finalizer()).await;
    installation.declare(Application::named("elsewhere", &repository.url, "elsewhere", &inside)).await;
    installation.declare(Application::named("scoped", &repository.url, "scoped", &inside)).await;
    let made = Application::named("made", &repository.url, "app", &inside)
        .spec("syncPolicy", json!({"automated": {}, "syncOptions": ["CreateNamespace=true"]}));
    installation.declare(made).await;
    // A project may name an account that this operator may not act as.
    installation.apply(project("lent", &[&inside], json!([entry("*", "deployer")]))).await;
    let lent = Application::named("lent", &repository.url, "app", &inside).spec("project", json!("lent"));
    installation.declare(lent).await;
    installation.operator.add_argument("--destination-namespaces");
    installation.operator.add_argument(&inside);
    installation.operator.start().await;

    installation.synced("app", &first).await;
    let limit = format!("limited to the namespaces {inside}");
    let advice = "--destination-namespaces (chart: rbac.namespaces)";
    let foreign = format!("elsewhere/foreign.yaml:1: ConfigMap `foreign` is in the namespace `{outside}`");
    fails(&installation, "elsewhere", "OutsideNamespaces", &[&foreign, &limit, advice]).await;
    let scoped = format!("scoped/namespace.yaml:1: Namespace `{inside}` is cluster-scoped");
    fails(&installation, "scoped", "OutsideNamespaces", &[&scoped, &limit]).await;
    fails(&installation, "made", "OutsideNamespaces", &["CreateNamespace=true", "--destination-namespaces"]).await;

    let not_as = format!(
        "the operator may not act as the ServiceAccount `{inside}/deployer`: allow it the verb `impersonate` on serviceaccounts `deployer` in \
         the namespace `{inside}`"
    );
    fails(&installation, "lent", "Forbidden", &["cannot impersonate resource \"serviceaccounts\"", &not_as]).await;

    cluster.merge(CONFIG_MAP, &inside, "kept", json!({"data": {"value": "by hand"}})).await;
    installation
        .wait("the drift is healed", async || {
            let found = cluster.must_get(CONFIG_MAP, &inside, "kept").await;
            if found["data"]["value"] == "1" { Ok(()) } else { Err(found["data"].to_string()) }
        })
        .await;
    let second = repository.commit([("app/pruned.yaml", Change::Gone)]);
    installation.follow("app", &second).await;
    assert!(cluster.get(CONFIG_MAP, &inside, "pruned").await.is_none());
    cluster.delete(APPLICATION, &installation.namespace, "app").await;
    installation
        .wait("the Application and all it owned are gone", async || {
            let left = cluster.get(CONFIG_MAP, &inside, "kept").await;
            let application = cluster.get(APPLICATION, &installation.namespace, "app").await;
            if left.is_none() && application.is_none() { Ok(()) } else { Err("still there".to_owned()) }
        })
        .await;
    installation.operator.stop().await;

    let lines = mark.lines();
    let grants = Grants::of(&installation.user, "", &granted);
    let replay = Replay::of(lines.iter().map(String::as_str), &installation.user, &grants);
    let refused = vec!["impersonate unknown /".to_owned()];
    assert_eq!((shown(&replay.refused), shown(&replay.beyond)), (refused, Vec::new()));
    let unused: Vec<String> = replay
        .unused
        .iter()
        .filter(|right| right.namespace.as_ref() == Some(&inside))
        .map(ToString::to_string)
        .collect();
    assert_eq!(unused, Vec::<String>::new(), "the verbs that are documented are needed, all of them");
    assert!(replay.acted_as.is_empty());
    installation.finish_stopped().await;
}
