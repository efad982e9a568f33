//! What to change, by the reason of a failure. Pure.

use crate::model::Reason;

/// A sentence on what to change; `None` for reasons that no way to a destination fails for.
pub(super) fn advice(reason: Reason) -> Option<&'static str> {
    let sentence = match reason {
        Reason::EgressDenied => {
            "let a rule lead there: list the host in `hosts` of an EgressProxy, or in a rule of the EgressPolicy; correct \
             or delete an EgressProxy that is not valid"
        }
        Reason::DnsFailed => {
            "check the name; a destination that only the proxy can resolve must be listed in `hosts` of an EgressProxy \
             (names are resolved here only on direct routes)"
        }
        Reason::ConnectTimeout => {
            "packets get no answer: check route tables, security groups and peering, or list the host in `hosts` of an \
             EgressProxy if there is no direct way"
        }
        Reason::ConnectFailed => "check host and port: something answers there and does not listen on that port",
        Reason::ProxyUnreachable => "check `spec.url` of the EgressProxy, and that its port is open from this pod",
        Reason::ProxyAuthRequired => {
            "correct `username` and `password` in the Secret that `credentialsSecretRef` of the EgressProxy names; only \
             Basic is spoken"
        }
        Reason::ProxyForbidden => "have host and port of the destination allowed at the proxy",
        Reason::ProxyUpstreamFailed => {
            "the proxy itself can't reach the destination: check the host name, and ask who runs the proxy"
        }
        Reason::ProxyUnavailable => {
            "the proxy takes no connections now, or can't reach the destination: ask who runs the proxy; it is tried again \
             after the time that it asks for"
        }
        Reason::ProxyFailed => "the proxy failed within itself: ask who runs the proxy what its log says",
        Reason::ProxyTlsUntrusted => {
            "compare issuer and fingerprint with what the proxy's owner tells, then put its CA into `ca.crt` of the \
             Secret that `caSecretRef` of the EgressProxy names"
        }
        Reason::TlsUntrusted => {
            "compare issuer and fingerprint: if the proxy intercepts TLS, put its CA into the Secret that `caSecretRef` \
             of the EgressProxy names; if it is the server's own CA, into that of the Repository"
        }
        Reason::TlsFailed => "check that the port speaks TLS, and in a version not older than 1.2",
        Reason::BlockedByProxy => "the answer is a block page: have the host allowed at the proxy",
        Reason::AuthFailed => {
            "correct the Secret that `credentialsSecretRef` of the Repository names, and the rights of that login"
        }
        Reason::RepositoryNotFound => {
            "check the path of the URL; many servers also answer so to a login without rights to the repository"
        }
        Reason::ServerError => "look at the logs of the server",
        Reason::ProtocolError => "check that the URL is that of a repository and not of its web page",
        Reason::ObjectFormatUnsupported => "use a repository with SHA-1 objects",
        Reason::RefNotFound => "correct `targetRevision` of the Application",
        Reason::ServerSilent => "look at the server, or raise `timeouts.firstByte` of the Repository",
        Reason::Stalled => "look at what lies between, or raise `timeouts.idle` of the Repository",
        Reason::ConnectionCut => "look for a proxy or firewall that cuts connections by size or time",
        Reason::RedirectRefused => "write the final URL as `repoURL` and in the Repository",
        Reason::PackTooLarge => "raise `limits` of the Repository, or make the repository smaller",
        Reason::StoreFailed => "check free space and rights of the state directory",
        Reason::HostKeyUntrusted => {
            "compare the fingerprint with the server's, then list the key in `knownHosts` of the Repository"
        }
        Reason::SubmoduleFailed => "allow the host in `submodules.allowedHosts`, or give the URL a Repository",
        Reason::LfsFailed => "set `lfs.enabled` of the Repository, or keep manifests out of LFS",
        Reason::ChartNotFound => "correct `chart` or `targetRevision` of the Application",
        Reason::ArtifactNotFound => "correct `repoURL` or `targetRevision` of the Application",
        Reason::ArtifactInvalid => "publish the chart or artifact again",
        Reason::SignatureInvalid => "sign the commit, tag or artifact, or correct the keys in the AppProject",
        Reason::Stale => "look at the mirror: does it still follow its origin?",
        Reason::FetchedInPieces => "have the limit of size or time at the proxy raised",
        Reason::SealBroken => "find out who else writes to the volume, or who replaced the Secret with the store key",
        Reason::RepositoryUnknown => "delete one of the Repositories that cover the URL equally well",
        Reason::SecretNotFound => "create the Secret, with the keys that the message names",
        Reason::ReferenceNotFound => "create the EgressProxy, or correct the name in the Repository",
        Reason::Forbidden => "grant the operator's ServiceAccount what the message names",
        Reason::ClusterUnreachable => "look at the API server and try again",
        Reason::InvalidSpec => "correct the field that the message names",
        _ => return None,
    };
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_reaching_a_source_has_its_advice() {
        let about_sources = Reason::ALL.iter().take_while(|reason| **reason != Reason::PathNotFound);
        let silent: Vec<&Reason> = about_sources.filter(|reason| advice(**reason).is_none()).collect();
        assert_eq!(silent, Vec::<&Reason>::new());
    }
}
