//! As whom requests are sent, and over which connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::egress::testing::{read_head, serve};
use crate::live::client::{ACCEPT_JSON, DEFAULT_DEADLINE, build, request, request_with_deadline};

/// A server that answers with the path and as whom it was asked; and how many connections it got.
async fn server() -> (Client, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = serve(None, move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let user = head.header("impersonate-user");
                let body = format!("{} [{user}] {}", head.target, head.header("user-agent"));
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (build(kube::Config::new(format!("http://{address}/").parse().unwrap())).unwrap(), connections)
}

async fn ask(client: &Client) -> String {
    let request = request(Method::GET, "/api/v1/x", &[], ACCEPT_JSON, Bytes::new()).unwrap();
    let answer = request_with_deadline(client, request, DEFAULT_DEADLINE).await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn every_request_names_the_account_and_takes_the_same_connection() {
    let (own, connections) = server().await;
    let account = acting_as(&own, &ServiceAccount::new("shop", "deployer")).unwrap();
    let agent = concat!("tidelock/", env!("CARGO_PKG_VERSION"));
    for _ in 0..3 {
        assert_eq!(ask(&account).await, format!("/api/v1/x [system:serviceaccount:shop:deployer] {agent}"));
        assert_eq!(ask(&own).await, format!("/api/v1/x [] {agent}"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_can_not_be_reached_is_reported_as_for_the_operator_itself() {
    let own = build(kube::Config::new("http://127.0.0.1:1/".parse().unwrap())).unwrap();
    let account = acting_as(&own, &ServiceAccount::new("shop", "deployer")).unwrap();
    let said = async |client: &Client| {
        let request = request(Method::GET, "/version", &[], ACCEPT_JSON, Bytes::new()).unwrap();
        request_with_deadline(client, request, DEFAULT_DEADLINE).await.unwrap_err()
    };
    assert_eq!(said(&account).await, said(&own).await);
}

#[tokio::test]
async fn a_name_that_fits_into_no_header_is_refused() {
    let own = build(kube::Config::new("http://127.0.0.1:1/".parse().unwrap())).unwrap();
    let refused = acting_as(&own, &ServiceAccount::new("shop", "a\r\nImpersonate-Group: system:masters"));
    assert!(refused.is_err());
}
