//! The order of kinds inside a wave: Argo CD's.

const ORDER: [(&str, &str); 30] = [
    ("", "Namespace"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodSecurityPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("storage.k8s.io", "StorageClass"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Service"),
    ("apps", "DaemonSet"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
    ("apiregistration.k8s.io", "APIService"),
];

/// The place of a kind inside its wave; kinds that the order does not name come last, together.
pub fn kind_rank(group: &str, kind: &str) -> u16 {
    // Pods of any kind refer to these two, which Argo CD leaves for the end: a new one beside its first user would fail.
    if matches!((group, kind), ("scheduling.k8s.io", "PriorityClass") | ("node.k8s.io", "RuntimeClass")) {
        return 0;
    }
    let position = ORDER.iter().position(|(own_group, own_kind)| *own_group == group && *own_kind == kind);
    position.map_or(u16::MAX, |position| u16::try_from(position).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_in_argo_cds_order_and_unknown_ones_last() {
        let kinds = [
            ("", "Namespace"),
            ("", "ServiceAccount"),
            ("", "Secret"),
            ("", "ConfigMap"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("batch", "Job"),
            ("networking.k8s.io", "Ingress"),
            ("shop.example.com", "Promotion"),
        ];
        let ranks: Vec<u16> = kinds.iter().map(|(group, kind)| kind_rank(group, kind)).collect();
        assert!(ranks.is_sorted_by(|left, right| left < right), "{ranks:?}");
        assert_eq!(kind_rank("other.example.com", "Deployment"), u16::MAX);
    }
}
