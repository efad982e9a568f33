//! What the bodies of objects refer to. Each body is read once and nothing of it is copied that can be borrowed; a body that
//! does not have the form of its kind refers to nothing, and is refused by the API server in its own words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::ObjectKey;

/// Labels or a selector.
pub(super) type Labels = BTreeMap<String, String>;

/// A Service by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ServiceReference<'a> {
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

/// What a CustomResourceDefinition defines.
#[derive(Clone, Debug)]
pub(super) struct Definition<'a> {
    pub(super) group: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    /// The Service that converts between its versions.
    pub(super) conversion: Option<ServiceReference<'a>>,
}

/// What the pods of a workload use.
#[derive(Clone, Debug, Default)]
pub(super) struct PodUse<'a> {
    /// Labels of the pods.
    pub(super) labels: Labels,
    /// The account that they run as.
    pub(super) account: Cow<'a, str>,
    /// ConfigMaps, Secrets and claims, by kind and name.
    pub(super) configuration: Vec<(&'static str, Cow<'a, str>)>,
}

/// A binding of rights.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Binding<'a> {
    #[serde(borrow, default)]
    pub(super) subjects: Option<Vec<Subject<'a>>>,
    #[serde(borrow, rename = "roleRef")]
    pub(super) role: RoleReference<'a>,
}

/// Who is given rights.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Subject<'a> {
    #[serde(borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
}

/// Which rights.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RoleReference<'a> {
    #[serde(borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Spec<T> {
    spec: Option<T>,
}

/// What a definition defines.
pub(super) fn definition(body: &[u8]) -> Option<Definition<'_>> {
    #[derive(Deserialize)]
    struct DefinitionSpec<'a> {
        #[serde(borrow)]
        group: Cow<'a, str>,
        #[serde(borrow)]
        names: Names<'a>,
        #[serde(borrow, default)]
        conversion: Option<Conversion<'a>>,
    }
    #[derive(Deserialize)]
    struct Names<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct Conversion<'a> {
        #[serde(borrow, default)]
        webhook: Option<Webhook<'a>>,
    }
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        spec: DefinitionSpec<'a>,
    }
    let Object { spec: DefinitionSpec { group, names, conversion } } = serde_json::from_slice(body).ok()?;
    let conversion = conversion.and_then(|conversion| conversion.webhook?.client_config?.service);
    Some(Definition { group, kind: names.kind, conversion })
}

#[derive(Deserialize)]
struct Webhook<'a> {
    #[serde(borrow, default, rename = "clientConfig")]
    client_config: Option<ClientConfig<'a>>,
}

#[derive(Deserialize)]
struct ClientConfig<'a> {
    #[serde(borrow, default)]
    service: Option<ServiceReference<'a>>,
}

/// The Services behind a webhook configuration or an APIService.
pub(super) fn served_by<'a>(key: &ObjectKey, body: &'a [u8]) -> Vec<ServiceReference<'a>> {
    #[derive(Deserialize)]
    struct Configuration<'a> {
        #[serde(borrow, default)]
        webhooks: Option<Vec<Webhook<'a>>>,
    }
    match (key.group.as_str(), key.kind.as_str()) {
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            let configuration: Option<Configuration<'a>> = serde_json::from_slice(body).ok();
            let webhooks = configuration.and_then(|configuration| configuration.webhooks).unwrap_or_default();
            webhooks.into_iter().filter_map(|webhook| webhook.client_config?.service).collect()
        }
        ("apiregistration.k8s.io", "APIService") => {
            #[derive(Deserialize)]
            struct Object<'a> {
                #[serde(borrow, default)]
                spec: Option<ClientConfig<'a>>,
            }
            let object: Option<Object<'a>> = serde_json::from_slice(body).ok();
            object.and_then(|object| object.spec?.service).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The selector of a Service; empty when it selects nothing by itself.
pub(super) fn selector(body: &[u8]) -> Labels {
    #[derive(Deserialize)]
    struct ServiceSpec {
        #[serde(default)]
        selector: Option<Labels>,
    }
    let service: Option<Spec<ServiceSpec>> = serde_json::from_slice(body).ok();
    service.and_then(|service| service.spec?.selector).unwrap_or_default()
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) fn binding(body: &[u8]) -> Option<Binding<'_>> {
    serde_json::from_slice(body).ok()
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<Labels>,
}

#[derive(Deserialize)]
struct Template<'a> {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(borrow, default)]
    spec: Option<PodSpec<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadSpec<'a> {
    #[serde(borrow, default)]
    template: Option<Template<'a>>,
    #[serde(borrow, default)]
    job_template: Option<JobTemplate<'a>>,
}

#[derive(Deserialize)]
struct JobTemplate<'a> {
    #[serde(borrow, default)]
    spec: Option<JobSpec<'a>>,
}

#[derive(Deserialize)]
struct JobSpec<'a> {
    #[serde(borrow, default)]
    template: Option<Template<'a>>,
}

#[derive(Deserialize)]
struct Workload<'a> {
    #[serde(borrow, default)]
    spec: Option<WorkloadSpec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    #[serde(borrow, default)]
    service_account_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    service_account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_pull_secrets: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow, default)]
    init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default)]
    containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default, alias = "secretName", alias = "claimName")]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow, default)]
    config_map: Option<Named<'a>>,
    #[serde(borrow, default)]
    secret: Option<Named<'a>>,
    #[serde(borrow, default)]
    persistent_volume_claim: Option<Named<'a>>,
    #[serde(borrow, default)]
    projected: Option<Projected<'a>>,
}

#[derive(Deserialize)]
struct Projected<'a> {
    #[serde(borrow, default)]
    sources: Option<Vec<Projection<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Projection<'a> {
    #[serde(borrow, default)]
    config_map: Option<Named<'a>>,
    #[serde(borrow, default)]
    secret: Option<Named<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow, default)]
    env_from: Option<Vec<EnvironmentSource<'a>>>,
    #[serde(borrow, default)]
    env: Option<Vec<Variable<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentSource<'a> {
    #[serde(borrow, default, alias = "configMapKeyRef")]
    config_map_ref: Option<Named<'a>>,
    #[serde(borrow, default, alias = "secretKeyRef")]
    secret_ref: Option<Named<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable<'a> {
    #[serde(borrow, default)]
    value_from: Option<EnvironmentSource<'a>>,
}

/// What the pods of a workload use; `None` for objects that make no pods.
///
/// Kinds of extensions count when they hold a pod template at the place where the built-in ones have it.
pub(super) fn pod_use<'a>(key: &ObjectKey, body: &'a [u8]) -> Option<PodUse<'a>> {
    let (labels, spec) = match (key.group.as_str(), key.kind.as_str()) {
        ("", "Pod") => {
            let pod: Template<'a> = serde_json::from_slice(body).ok()?;
            (pod.metadata, pod.spec?)
        }
        ("", "ReplicationController")
        | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job" | "CronJob") => templated(body)?,
        (group, _) if is_extension(group) && std::str::from_utf8(body).ok()?.contains("\"containers\":") => {
            templated(body)?
        }
        _ => return None,
    };
    let mut found =
        PodUse { labels: labels.and_then(|metadata| metadata.labels).unwrap_or_default(), ..PodUse::default() };
    let PodSpec { service_account_name, service_account, image_pull_secrets, volumes, init_containers, containers } =
        spec;
    found.account = service_account_name.or(service_account).unwrap_or(Cow::Borrowed("default"));
    let mut note = |kind: &'static str, named: Option<Named<'a>>| {
        if let Some(Named { name }) = named.filter(|named| !named.name.is_empty()) {
            found.configuration.push((kind, name));
        }
    };
    for secret in image_pull_secrets.into_iter().flatten() {
        note("Secret", Some(secret));
    }
    for Volume { config_map, secret, persistent_volume_claim, projected } in volumes.into_iter().flatten() {
        note("ConfigMap", config_map);
        note("Secret", secret);
        note("PersistentVolumeClaim", persistent_volume_claim);
        for Projection { config_map, secret } in projected.and_then(|projected| projected.sources).into_iter().flatten()
        {
            note("ConfigMap", config_map);
            note("Secret", secret);
        }
    }
    for Container { env_from, env } in init_containers.into_iter().flatten().chain(containers.into_iter().flatten()) {
        let variables = env.into_iter().flatten().filter_map(|variable| variable.value_from);
        for EnvironmentSource { config_map_ref, secret_ref } in env_from.into_iter().flatten().chain(variables) {
            note("ConfigMap", config_map_ref);
            note("Secret", secret_ref);
        }
    }
    found.configuration.sort();
    found.configuration.dedup();
    Some(found)
}

fn templated(body: &[u8]) -> Option<(Option<Metadata>, PodSpec<'_>)> {
    let Workload { spec } = serde_json::from_slice(body).ok()?;
    let WorkloadSpec { template, job_template } = spec?;
    let template = template.or_else(|| job_template?.spec?.template)?;
    Some((template.metadata, template.spec?))
}

/// Whether a group is none of Kubernetes itself.
fn is_extension(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io")
}
