//! A client that acts as a ServiceAccount: the same connections and credentials, with `Impersonate-User` on every request.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use thiserror::Error;
use tower_service::Service;

use crate::model::ServiceAccount;

/// Says as whom a request is to be carried out. The API server adds the groups of a ServiceAccount by itself.
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

/// A ServiceAccount that can't be acted as.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the ServiceAccount `{account}` can't be acted as: its name does not fit into a header")]
pub struct ImpersonationError {
    account: ServiceAccount,
}

/// A client that does everything as `account`, over the connections of `client`.
///
/// # Errors
/// When the name holds characters that no name of a ServiceAccount has.
pub fn acting_as(client: &Client, account: &ServiceAccount) -> Result<Client, ImpersonationError> {
    let user =
        HeaderValue::try_from(account.user_name()).map_err(|_| ImpersonationError { account: account.clone() })?;
    let namespace = client.default_namespace().to_owned();
    Ok(ClientBuilder::new(Impersonating { client: client.clone(), user }, namespace).build())
}

#[derive(Clone)]
struct Impersonating {
    client: Client,
    user: HeaderValue,
}

impl Service<Request<Body>> for Impersonating {
    type Response = http::Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // The client below waits for its own readiness with each request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(IMPERSONATE_USER, self.user.clone());
        let client = self.client.clone();
        async move { client.send(request).await }.boxed()
    }
}

#[cfg(test)]
#[path = "impersonation_tests.rs"]
mod tests;
