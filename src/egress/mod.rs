//! How connections leave: direct or by which proxy, and why. One layer for the whole program.
//!
//! ```text
//! rules::decide(target, override) → Decision{route, rule}      (pure)
//! connect::open(decision)         → Stream                     (dns, dial, CONNECT, TLS; each under its own timer)
//! http::HttpClient::send(request) → HttpResponse               (reuse of idle connections, streaming body)
//! ```
//!
//! A target that goes through a proxy is never resolved locally. Every failure is an [`EgressError`] that names its
//! phase, its route and the rule that chose the route. Nothing here reads the environment, but for the system's
//! certificate store, which honours `SSL_CERT_FILE` and `SSL_CERT_DIR` as every program does.

mod aws;
mod connect;
mod connector;
mod credentials;
mod destination;
mod dial;
mod environment;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod identity;
mod pattern;
mod policy;
mod pool;
mod probe;
mod proxy_url;
mod response;
mod route;
mod rules;
mod secure;
mod socks;
mod stream;
#[cfg(test)]
pub mod testing;
mod tls;
mod trust;
mod tunnel;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Reason;

use error::Place;

pub use connector::{Carrier, Incoming, Limited, LimitedError, Permit, UriConnector, Withheld};
pub use credentials::{Authorization, BasicCredentials, CredentialsError};
pub use destination::{Destination, Protocol};
pub use environment::{EnvironmentProxies, EnvironmentReading};
pub use error::{EgressError, Phase};
pub use http::{HttpClient, HttpConfig, Timeouts};
pub use identity::{ClientIdentity, IdentityError};
pub use pattern::{HostPattern, PatternError};
pub use policy::{Action, Otherwise, Policy, PolicyError, PolicyRule};
pub use probe::{Certificate, Peer, ProbeDetails, ProbeStep};
pub use proxy_url::{ProxyScheme, ProxyUrl, ProxyUrlError};
pub use response::HttpResponse;
pub use route::Route;
pub use rules::{Decision, EgressRules, Override, ProxyRule, RuleError};
pub use stream::{Duplex, Stream};
pub use trust::{CaBundle, CaBundleError, SystemRoots};

/// What a proxy needs besides its rule: kept apart from the rules so that those can be printed and compared.
#[derive(Clone, Default)]
pub struct ProxyAccess {
    /// Sent with the first request, without waiting for a challenge.
    pub credentials: Option<BasicCredentials>,
    /// Certificate authorities of the proxy: trusted for the proxy's own certificate (an `https://` proxy) and for
    /// the certificates it makes up when it intercepts TLS. Never trusted for connections that don't pass this proxy.
    pub ca: Option<CaBundle>,
    /// What an `https://` proxy is shown when it asks for a client certificate.
    pub identity: Option<ClientIdentity>,
}

/// The rules with everything needed to act on them. Immutable: a changed `EgressProxy` makes a new value, and clients
/// are rebuilt from it.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<EgressInner>,
}

/// Told of each connection that was opened or failed to open: by which route (`direct`, `proxy:NAME`, or `none` where the
/// rules gave none) and, when it failed, why.
pub type Observer = Arc<dyn Fn(&str, Option<Reason>) + Send + Sync>;

struct EgressInner {
    rules: EgressRules,
    access: BTreeMap<String, ProxyAccess>,
    system: SystemRoots,
    observer: Option<Observer>,
}

impl Egress {
    /// Rules, and by proxy name what each proxy needs. A proxy without an entry needs nothing.
    pub fn new(rules: EgressRules, access: BTreeMap<String, ProxyAccess>, system: SystemRoots) -> Self {
        Self { inner: Arc::new(EgressInner { rules, access, system, observer: None }) }
    }

    /// No proxy at all: every connection goes direct.
    pub fn direct(system: SystemRoots) -> Self {
        Self::new(EgressRules::default(), BTreeMap::new(), system)
    }

    /// The same, with every connection counted.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        let EgressInner { rules, access, system, observer: _ } = &*self.inner;
        let (rules, access, system) = (rules.clone(), access.clone(), system.clone());
        Self { inner: Arc::new(EgressInner { rules, access, system, observer: Some(observer) }) }
    }

    /// The rules.
    pub fn rules(&self) -> &EgressRules {
        &self.inner.rules
    }

    /// A connection to a destination that is not spoken to in HTTP (SSH, say): dialled or tunnelled as the rules say, each
    /// phase under its timer. No TLS is spoken to the destination.
    pub async fn open(
        &self,
        target: &Destination,
        chosen: &Override,
        timeouts: &Timeouts,
    ) -> Result<Stream, EgressError> {
        let place = self.place(target, chosen)?;
        let connector = connect::Connector::new(self.clone(), None, None, timeouts.clone());
        // Connecting is the largest of all futures here; what waits for it need not carry it.
        Box::pin(connector.open_raw(target, &place)).await
    }

    /// Where a connection goes and how, by the rules.
    fn place(&self, target: &Destination, chosen: &Override) -> Result<Place, EgressError> {
        let host = target.to_string();
        match self.rules().decide_destination(target, chosen) {
            Ok(decision) => Ok(Place { host, decision }),
            Err(error) => {
                let error = EgressError::no_route(host, &error);
                self.observe("none", Some(error.reason));
                Err(error)
            }
        }
    }

    fn observe(&self, route: &str, failure: Option<Reason>) {
        if let Some(observer) = &self.inner.observer {
            observer(route, failure);
        }
    }

    fn access(&self, proxy: &str) -> Option<&ProxyAccess> {
        self.inner.access.get(proxy)
    }

    fn system(&self) -> &SystemRoots {
        &self.inner.system
    }
}

#[cfg(test)]
mod bypass_table_tests;
