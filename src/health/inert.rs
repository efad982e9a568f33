//! Kinds that are well by existing.

/// API groups that every API server brings along. Among their kinds, those whose status decides about health have a
/// rule of their own; the others hold configuration (`ConfigMap`, `Role`, `StorageClass`), bookkeeping (`Lease`,
/// `EndpointSlice`, `ResourceQuota`) or things no manifest should wait for (`Node`), so the existence of the object is
/// all there is to know.
///
/// The list is closed on purpose: groups such as `gateway.networking.k8s.io` or `snapshot.storage.k8s.io` look alike
/// but are custom resources.
const BUILTIN_GROUPS: [&str; 25] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
    "imagepolicy.k8s.io",
];

/// Whether the group is built into the API server.
pub fn is_builtin_group(group: &str) -> bool {
    BUILTIN_GROUPS.contains(&group)
}
