//! What a fence keeps back, down to the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::*;
use crate::egress::testing::{Authority, read_head, serve};

/// Far more than lies in the buffers of two kernels.
const BODY: usize = 64 << 20;

/// A server that answers what has no body, and reads a body only when it is let.
struct Server {
    address: std::net::SocketAddr,
    /// Heads of requests that came.
    heads: Arc<AtomicUsize>,
    /// Bytes of bodies that came, and whether they ended.
    bodies: watch::Receiver<(usize, bool)>,
    read_on: watch::Sender<bool>,
}

async fn server(authority: &Authority) -> Server {
    let heads = Arc::new(AtomicUsize::new(0));
    let (told, bodies) = watch::channel((0, false));
    let (read_on, may_read) = watch::channel(false);
    let (count, told) = (Arc::clone(&heads), Arc::new(told));
    let address = serve(Some(authority.acceptor("localhost")), move |mut stream| {
        let (count, told, mut may_read) = (Arc::clone(&count), Arc::clone(&told), may_read.clone());
        async move {
            while let Some(head) = read_head(&mut stream).await {
                count.fetch_add(1, Ordering::SeqCst);
                if head.header("content-length").parse().unwrap_or(0_usize) > 0 {
                    may_read.wait_for(|may| *may).await.unwrap();
                    let mut rest = vec![0; 1 << 20];
                    loop {
                        let read = stream.read(&mut rest).await.unwrap_or(0);
                        told.send_modify(|(bytes, ended)| {
                            *bytes += read;
                            *ended = read == 0;
                        });
                        if read == 0 {
                            return;
                        }
                    }
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            }
        }
    })
    .await;
    Server { address, heads, bodies, read_on }
}

fn client(server: &Server, authority: &Authority, open: &Arc<AtomicBool>) -> Client {
    let mut config = Config::new(format!("https://localhost:{}/", server.address.port()).parse().unwrap());
    config.root_cert = Some(vec![super::route_tests::pem_of(authority)]);
    let open = Arc::clone(open);
    let fence = WriteFence::new(move || open.load(Ordering::SeqCst), Duration::from_secs(20));
    let speaker = Speaker { identity: Some("node-1_0123".to_owned()), fence: Some(fence) };
    build_as(config, &speaker).unwrap()
}

async fn send(client: &Client, method: Method, body: Bytes) -> Result<Answer, NoAnswer> {
    let request = request(method, "/api/v1/namespaces/a/configmaps/b", &[], ACCEPT_JSON, body)?;
    request_with_deadline(client, request, DEFAULT_DEADLINE).await
}

#[tokio::test]
async fn the_rest_of_a_write_that_is_half_sent_never_leaves_once_the_fence_is_closed() {
    let authority = Authority::new("Cluster CA");
    let mut server = server(&authority).await;
    let open = Arc::new(AtomicBool::new(true));
    let client = client(&server, &authority, &open);
    let writing = tokio::spawn({
        let client = client.clone();
        async move { send(&client, Method::PUT, Bytes::from(vec![b'x'; BODY])).await }
    });
    let begun = async {
        while server.heads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
    open.store(false, Ordering::SeqCst);
    server.read_on.send_replace(true);
    let error = tokio::time::timeout(Duration::from_secs(20), writing).await.unwrap().unwrap().unwrap_err();
    assert!(error.message.contains("this process does not hold the lease: nothing is written"), "{}", error.message);
    let ended = tokio::time::timeout(Duration::from_secs(20), server.bodies.wait_for(|(_, ended)| *ended));
    let bytes = ended.await.unwrap().unwrap().0;
    assert!(bytes < BODY, "{bytes}");
}

#[tokio::test]
async fn behind_a_closed_fence_reads_go_on_and_no_write_reaches_the_server() {
    let authority = Authority::new("Cluster CA");
    let server = server(&authority).await;
    let open = Arc::new(AtomicBool::new(true));
    let client = client(&server, &authority, &open);
    assert_eq!(send(&client, Method::DELETE, Bytes::new()).await.unwrap().status, 200);
    open.store(false, Ordering::SeqCst);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let error = send(&client, method, Bytes::new()).await.unwrap_err().message;
        assert_eq!(error, "the API server can't be reached: this process does not hold the lease: nothing is written");
    }
    assert_eq!(send(&client, Method::GET, Bytes::new()).await.unwrap().status, 200);
    assert_eq!(server.heads.load(Ordering::SeqCst), 2);
}
