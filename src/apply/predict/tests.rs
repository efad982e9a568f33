use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::apply::Limits;
use crate::model::{ApiSurface, KindInfo};

/// What was asked: method and path with query, and the `Accept` header.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// An API server that answers with these bodies in turn; an empty one is a 404 about the object.
async fn server(answers: Vec<Value>) -> (Applier, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let head = loop {
                let read = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let header = |name: &str| {
                    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
                };
                let length = header("content-length").map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                    break (line, header("accept").unwrap());
                }
            };
            seen.lock().unwrap().push(head);
            let (status, body) = if answer.is_null() {
                let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "reason": "NotFound", "message": "not found", "details": {"name": "a", "kind": "configmaps"}, "code": 404});
                ("404 Not Found", body)
            } else {
                ("200 OK", answer)
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let client = crate::live::client::build(kube::Config::new(url.parse().unwrap())).unwrap();
    let kind = |plural: &str| KindInfo {
        versions: vec!["v1".to_owned()],
        plural: plural.to_owned(),
        namespaced: true,
        has_status: false,
        watchable: true,
    };
    let mut surface = ApiSurface::default();
    for (name, plural) in [("ConfigMap", "configmaps"), ("Secret", "secrets")] {
        surface.kinds.insert(crate::model::GroupKind::new("", name), kind(plural));
    }
    let surface = Arc::new(surface);
    let applier = Applier::new(
        client,
        Arc::new(move || Arc::clone(&surface)),
        Arc::new(|_| false),
        Arc::new(|| false),
        Limits::default(),
    );
    (applier, asked)
}

fn object(version: &str, value: &str) -> Value {
    json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version}, "data": {"x": value}})
}

async fn predict(applier: &Applier, kind: &str) -> Option<Prediction> {
    let key = ObjectKey::new("", kind, "shop", "a");
    let gvk = GroupVersionKind::from_api_version("v1", kind);
    applier.predict(&key, &gvk, &Bytes::from_static(b"{}")).await.unwrap()
}

#[tokio::test]
async fn one_read_and_one_dry_run_tell_both_sides_whole() {
    let (applier, asked) = server(vec![object("7", "live"), object("7", "wanted")]).await;
    assert_eq!(
        predict(&applier, "ConfigMap").await,
        Some(Prediction { live: object("7", "live"), predicted: object("7", "wanted") })
    );
    let path = "/api/v1/namespaces/shop/configmaps/a";
    let json = ACCEPT_JSON.to_owned();
    assert_eq!(
        *asked.lock().unwrap(),
        [
            (format!("GET {path}"), json.clone()),
            (format!("PATCH {path}?fieldManager=tidelock&force=true&fieldValidation=Ignore&dryRun=All"), json),
        ]
    );
}

#[tokio::test]
async fn sides_of_different_states_are_read_again() {
    let answers = vec![object("7", "old"), object("8", "wanted"), object("8", "new"), object("8", "wanted")];
    let (applier, asked) = server(answers).await;
    let both = predict(&applier, "ConfigMap").await.unwrap();
    assert_eq!((both.live, both.predicted), (object("8", "new"), object("8", "wanted")));
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn of_secrets_only_metadata_is_asked_for_and_what_is_not_there_is_not_tried() {
    let (applier, asked) = server(vec![object("7", ""), object("7", "")]).await;
    predict(&applier, "Secret").await.unwrap();
    assert!(asked.lock().unwrap().iter().all(|(_, accept)| accept == ACCEPT_METADATA), "{asked:?}");
    let (applier, asked) = server(vec![Value::Null]).await;
    assert_eq!(predict(&applier, "ConfigMap").await, None);
    assert_eq!(asked.lock().unwrap().len(), 1);
}
