//! Replays what an API server's audit log holds of one user against the rules that the user was given: what was used and not
//! granted, and what is granted and was not used. Knows no test bed, so every kind of test can include it.
//!
//! ```text
//! audit log (JSON lines) ─► Use: verb, resource, namespace, name ─┐
//! Roles, ClusterRoles and their bindings ─► Right, one by one ────┴─► Replay { refused, unused, … }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What was asked of the API server, as its authorizer sees it. Empty is "none", or "any" where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural of the kind, with its subresource (`applications/status`).
    pub resource: String,
    /// Namespace; empty is the whole cluster, or a kind without namespaces.
    pub namespace: String,
    /// Name; empty where the request is about none by name.
    pub name: String,
}

impl fmt::Display for Use {
    /// `patch tidelock.dev/applications/status shop/cart`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, namespace, name } = self;
        let slash = if group.is_empty() { "" } else { "/" };
        write!(formatter, "{verb} {group}{slash}{resource} {namespace}/{name}")
    }
}

/// One thing that a rule allows. `*` is everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Verb, or `*`.
    pub verb: String,
    /// API group, or `*`.
    pub group: String,
    /// Resource with its subresource, or `*`.
    pub resource: String,
    /// The namespace where it holds; `None` is the whole cluster.
    pub namespace: Option<String>,
    /// The only object that it is about; `None` is all.
    pub name: Option<String>,
}

impl Right {
    fn allows(&self, used: &Use) -> bool {
        let is = |granted: &str, asked: &str| granted == "*" || granted == asked;
        let subresource = |granted: &str| {
            let wanted = granted.strip_prefix("*/");
            wanted.is_some_and(|wanted| used.resource.split_once('/').is_some_and(|(_, asked)| asked == wanted))
        };
        is(&self.verb, &used.verb)
            && is(&self.group, &used.group)
            && (is(&self.resource, &used.resource) || subresource(&self.resource))
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == used.namespace)
            && self.name.as_ref().is_none_or(|name| *name == used.name)
    }
}

impl fmt::Display for Right {
    /// ``get secrets `git-credentials` in tidelock``.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        write!(formatter, "{} {}{slash}{}", self.verb, self.group, self.resource)?;
        if let Some(name) = &self.name {
            write!(formatter, " `{name}`")?;
        }
        write!(formatter, " in {}", self.namespace.as_deref().unwrap_or("the whole cluster"))
    }
}

/// Everything that a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// One by one.
    pub rights: BTreeSet<Right>,
}

impl Grants {
    /// What a user is given by these objects: Roles, ClusterRoles, RoleBindings and ClusterRoleBindings, in any order, others
    /// are passed over. The user is named as the audit log does (`system:serviceaccount:<namespace>:<name>`). A namespaced object
    /// without a namespace, as a chart may print it, is taken to be in `namespace`.
    ///
    /// Panics where a binding names a role that is not among the objects.
    pub fn of(user: &str, namespace: &str, objects: &[Value]) -> Self {
        let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        let place = |object: &Value| object["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
        let mut grants = Self::default();
        for binding in objects {
            let held_in = match kind(binding).as_str() {
                "RoleBinding" => Some(place(binding)),
                "ClusterRoleBinding" => None,
                _ => continue,
            };
            let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !subjects.iter().any(|subject| names(subject, user, &place(binding))) {
                continue;
            }
            let (wanted, name) = (kind(&binding["roleRef"]), binding["roleRef"]["name"].as_str().unwrap_or_default());
            let role = objects.iter().find(|role| {
                kind(role) == wanted
                    && role["metadata"]["name"] == name
                    && (wanted == "ClusterRole" || Some(place(role)) == held_in)
            });
            let role = role.unwrap_or_else(|| {
                panic!(
                    "{} is bound to the {wanted} `{name}`, which is not among the objects",
                    binding["metadata"]["name"]
                )
            });
            grants.add(role, held_in.as_deref());
        }
        grants
    }

    /// The rights that none of these uses needed.
    fn without_use(&self, uses: &BTreeMap<Use, usize>) -> BTreeSet<Right> {
        let is_unused = |right: &&Right| !uses.keys().any(|used| right.allows(used));
        self.rights.iter().filter(is_unused).cloned().collect()
    }

    /// Whether any of the rights allows a use.
    pub fn allow(&self, used: &Use) -> bool {
        self.rights.iter().any(|right| right.allows(used))
    }

    /// Adds the rules of a Role or ClusterRole, as they hold in a namespace or (`None`) in the whole cluster.
    pub fn add(&mut self, role: &Value, namespace: Option<&str>) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let names = texts(&rule["resourceNames"]);
            let names: Vec<Option<String>> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        self.rights.extend(names.iter().map(|name| Right {
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            namespace: namespace.map(str::to_owned),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn names(subject: &Value, user: &str, namespace: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("ServiceAccount") => {
            let namespace = subject["namespace"].as_str().unwrap_or(namespace);
            user == format!("system:serviceaccount:{namespace}:{name}")
        }
        Some("User") => user == name,
        _ => false,
    }
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// What the user did with its own rights, with how often.
    pub used: BTreeMap<Use, usize>,
    /// What it did as others, by their names. The right to do so is among `used`.
    pub acted_as: BTreeMap<String, BTreeMap<Use, usize>>,
    /// What the API server refused the user for lack of rights.
    pub refused: BTreeSet<Use>,
    /// What the API server refused it as others, by their names.
    pub refused_as: BTreeMap<String, BTreeSet<Use>>,
    /// What it did and no rule of the grants allows: something else gave it the right.
    pub beyond: BTreeSet<Use>,
    /// What is granted and was never used.
    pub unused: BTreeSet<Right>,
}

impl Replay {
    /// Replays lines of an audit log (`audit.k8s.io/v1`, JSON, at least of level Metadata).
    ///
    /// Panics at a line that is no audit event.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a str>, user: &str, grants: &Grants) -> Self {
        let mut replay = Self::default();
        for line in lines {
            // The log of a whole cluster is long: what does not name the user is not worth parsing.
            if !line.contains(user) {
                continue;
            }
            let event: Event =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("not an audit event: {error}: {line}"));
            if event.user.username == user && event.stage != "RequestReceived" {
                replay.take(event);
            }
        }
        replay.beyond = replay.used.keys().filter(|used| !grants.allow(used)).cloned().collect();
        replay.unused = grants.without_use(&replay.used);
        replay
    }

    /// What is granted to an account that the user acted as, and was never used.
    pub fn unused_of(&self, grants: &Grants, account: &str) -> BTreeSet<Right> {
        self.acted_as.get(account).map_or_else(|| grants.rights.clone(), |uses| grants.without_use(uses))
    }

    fn take(&mut self, event: Event) {
        // What is no object (discovery, the version) is open to everybody who has logged in.
        let Some(reference) = event.object_ref.filter(|reference| !reference.resource.is_empty()) else { return };
        let used = reference.used(&event.verb, &event.request_uri);
        let decision = event.annotations.get("authorization.k8s.io/decision").map(String::as_str);
        let was_refused = decision.map_or(event.response_status.code == 403, |decision| decision != "allow");
        // An apply that makes an object needs the right to create it, with its name.
        let makes = event.response_status.code == 201 && matches!(used.verb.as_str(), "patch" | "update");
        let made = makes.then(|| Use { verb: "create".to_owned(), ..used.clone() });
        let Some(other) = event.impersonated_user else {
            if was_refused {
                // Refused before the authorizer was asked about the request itself: it was not allowed to act as another. The
                // log does not say as whom.
                let was_asked = decision.is_some();
                let whom = || Use { verb: "impersonate".to_owned(), resource: "unknown".to_owned(), ..Use::default() };
                self.refused.insert(if was_asked { used } else { whom() });
            } else {
                made.into_iter().chain([used]).for_each(|used| count(&mut self.used, used));
            }
            return;
        };
        count(&mut self.used, impersonation(&other.username));
        if was_refused {
            self.refused_as.entry(other.username).or_default().insert(used);
        } else {
            let uses = self.acted_as.entry(other.username).or_default();
            made.into_iter().chain([used]).for_each(|used| count(uses, used));
        }
    }

    /// Lists and watches of Secrets that name none, as whoever; those that select by `label` are left out.
    pub fn of_all_secrets<'a>(lines: impl IntoIterator<Item = &'a str>, user: &str, label: &str) -> Vec<String> {
        let events = lines.into_iter().filter(|line| line.contains(user) && line.contains("secrets"));
        let events = events.filter_map(|line| serde_json::from_str::<Event>(line).ok());
        events
            .filter(|event| event.user.username == user && matches!(event.verb.as_str(), "list" | "watch"))
            .filter(|event| event.object_ref.as_ref().is_some_and(|it| it.resource == "secrets" && it.name.is_empty()))
            .map(|event| event.request_uri)
            .filter(|uri| !uri.contains(&format!("labelSelector={}", label.replace('/', "%2F"))))
            .collect()
    }

    /// The complaints: what was refused, what something else allowed, what was granted for nothing. Empty when what is granted
    /// is what is used.
    pub fn complaints(&self) -> Vec<String> {
        let refused = self.refused.iter().map(|used| format!("used and not granted: {used}"));
        let beyond = self.beyond.iter().map(|used| format!("used, and granted by something else: {used}"));
        let unused = self.unused.iter().map(|right| format!("granted and not used: {right}"));
        refused.chain(beyond).chain(unused).collect()
    }
}

fn count(uses: &mut BTreeMap<Use, usize>, used: Use) {
    *uses.entry(used).or_default() += 1;
}

/// The right to act as a user.
fn impersonation(user: &str) -> Use {
    let (resource, namespace, name) =
        match user.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':')) {
            Some((namespace, name)) => ("serviceaccounts", namespace, name),
            None => ("users", "", user),
        };
    Use {
        verb: "impersonate".to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    object_ref: Option<Reference>,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

impl Reference {
    fn used(self, verb: &str, uri: &str) -> Use {
        let Self { mut resource, namespace, mut name, api_group, subresource } = self;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        match verb {
            // The log fills in the name of what was made; the authorizer did not know it.
            "create" => name.clear(),
            "list" | "watch" if name.is_empty() => name = selected_name(uri),
            _ => {}
        }
        Use { verb: verb.to_owned(), group: api_group, resource, namespace, name }
    }
}

/// The name that a field selector binds a list to.
fn selected_name(uri: &str) -> String {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=")).unwrap_or_default();
    let selector = selector.replace("%3D", "=").replace("%3d", "=");
    selector.strip_prefix("metadata.name=").unwrap_or_default().trim_start_matches('=').to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const USER: &str = "system:serviceaccount:tidelock:tidelock";

    fn event(verb: &str, resource: &str, name: &str, code: u16, more: Value) -> String {
        let mut event = json!({
            "stage": "ResponseComplete", "verb": verb, "requestURI": format!("/api/v1/namespaces/tidelock/{resource}"),
            "user": {"username": USER}, "responseStatus": {"code": code},
            "objectRef": {"resource": resource, "namespace": "tidelock", "name": name, "apiVersion": "v1"},
            "annotations": {"authorization.k8s.io/decision": if code == 403 { "forbid" } else { "allow" }},
        });
        event.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        event.to_string()
    }

    fn objects(rules: Value) -> Vec<Value> {
        vec![
            json!({"kind": "Role", "metadata": {"name": "own"}, "rules": rules}),
            json!({"kind": "RoleBinding", "metadata": {"name": "own"}, "roleRef": {"kind": "Role", "name": "own"},
                   "subjects": [{"kind": "ServiceAccount", "name": "tidelock"}]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "other"}, "roleRef": {"kind": "Role", "name": "own"},
                   "subjects": [{"kind": "ServiceAccount", "name": "somebody"}]}),
        ]
    }

    fn complaints(lines: &[String], rules: Value) -> Vec<String> {
        let grants = Grants::of(USER, "tidelock", &objects(rules));
        Replay::of(lines.iter().map(String::as_str), USER, &grants).complaints()
    }

    #[test]
    fn what_is_granted_and_used_is_no_complaint() {
        let lines = [
            event("get", "secrets", "a", 200, json!({})),
            event("create", "secrets", "made", 201, json!({})),
            event("patch", "inventories", "i-0", 201, json!({})),
            event(
                "watch",
                "configmaps",
                "",
                200,
                json!({"requestURI": "/x?fieldSelector=metadata.name%3Dcm&watch=true"}),
            ),
            event("get", "", "", 200, json!({"objectRef": null})),
            event("list", "secrets", "", 200, json!({"user": {"username": "somebody else"}})),
        ];
        let rules = json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["a"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["inventories"], "verbs": ["create", "patch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["watch"], "resourceNames": ["cm"]},
        ]);
        assert_eq!(complaints(&lines, rules), Vec::<String>::new());
    }

    #[test]
    fn what_is_refused_beyond_or_unused_is_told_one_by_one() {
        let lines = [event("get", "secrets", "b", 403, json!({})), event("get", "secrets", "c", 200, json!({}))];
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["a"]}]);
        assert_eq!(
            complaints(&lines, rules),
            [
                "used and not granted: get secrets tidelock/b",
                "used, and granted by something else: get secrets tidelock/c",
                "granted and not used: get secrets `a` in tidelock",
            ]
        );
    }

    #[test]
    fn acting_as_another_is_a_right_and_what_is_done_then_is_the_others() {
        let deployer = "system:serviceaccount:shop:deployer";
        let other = json!({"impersonatedUser": {"username": deployer}});
        let lines = [
            event("patch", "configmaps", "x", 200, other.clone()),
            event("patch", "secrets", "x", 403, other),
            event("get", "configmaps", "x", 403, json!({"annotations": {}})),
        ];
        let replay = Replay::of(lines.iter().map(String::as_str), USER, &Grants::default());
        let uses = |uses: &BTreeMap<Use, usize>| {
            uses.iter().map(|(used, times)| format!("{used} ×{times}")).collect::<Vec<_>>()
        };
        assert_eq!(uses(&replay.used), ["impersonate serviceaccounts shop/deployer ×2"]);
        assert_eq!(uses(&replay.acted_as[deployer]), ["patch configmaps tidelock/x ×1"]);
        assert_eq!(
            replay.refused_as[deployer].iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["patch secrets tidelock/x"]
        );
        assert_eq!(replay.refused.iter().map(ToString::to_string).collect::<Vec<_>>(), ["impersonate unknown /"]);
    }

    #[test]
    fn a_list_of_all_secrets_is_found_and_one_by_our_label_is_none() {
        let all = event("list", "secrets", "", 200, json!({"requestURI": "/api/v1/secrets?limit=500"}));
        let ours = event(
            "watch",
            "secrets",
            "",
            200,
            json!({"requestURI": "/api/v1/secrets?watch=true&labelSelector=tidelock.dev%2Finstance&timeoutSeconds=9"}),
        );
        let found = Replay::of_all_secrets([all.as_str(), ours.as_str()], USER, "tidelock.dev/instance");
        assert_eq!(found, ["/api/v1/secrets?limit=500"]);
    }
}
