//! Against a real HTTP server that plays the API.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex as StdMutex, OnceLock};
use std::time::Duration;

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::egress::testing::{Head, ProxyBehaviour, TestProxy, read_head, serve};
use crate::egress::{Egress, HttpConfig, SystemRoots, Timeouts};

/// One RSA key for all tests, in the form that GitHub gives out and in PKCS#8.
fn keys() -> &'static [Vec<u8>; 2] {
    static KEYS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem").display().to_string();
        openssl(&["genrsa", "-traditional", "-out", &file, "2048"]);
        [std::fs::read(&file).unwrap(), openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &file])]
    })
}

fn pkcs1() -> &'static [u8] {
    &keys()[0]
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

struct Api {
    address: SocketAddr,
    requests: Arc<StdMutex<Vec<Head>>>,
    answer: Arc<StdMutex<String>>,
}

impl Api {
    async fn start() -> Self {
        let requests: Arc<StdMutex<Vec<Head>>> = Arc::default();
        let answer: Arc<StdMutex<String>> = Arc::default();
        let (seen, say) = (Arc::clone(&requests), Arc::clone(&answer));
        let address = serve(None, move |mut stream| {
            let (seen, say) = (Arc::clone(&seen), Arc::clone(&say));
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let mut body = vec![0; head.header("content-length").parse().unwrap_or(0)];
                    stream.read_exact(&mut body).await.unwrap();
                    seen.lock().unwrap().push(head);
                    let text = say.lock().unwrap().clone();
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        let api = Self { address, requests, answer };
        api.grant("ghs_first", 3600);
        api
    }

    fn say(&self, status: &str, headers: &str, body: &str) {
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
    }

    fn grant(&self, token: &str, seconds: i64) {
        let body = serde_json::json!({"token": token, "expires_at": later(seconds), "permissions": {}}).to_string();
        self.say("201 Created", "Content-Type: application/json\r\n", &body);
    }

    fn app(&self) -> GitHubApp {
        GitHubApp::new("12", "3456", pkcs1(), Some(&format!("http://{}/api/v3/", self.address))).unwrap()
    }

    fn calls(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn client() -> HttpClient {
    let timeouts = Timeouts { first_byte: Duration::from_secs(20), ..Timeouts::default() };
    HttpClient::new(Egress::direct(SystemRoots::none()), HttpConfig { timeouts, ..HttpConfig::default() })
}

fn shown(authorization: &Authorization) -> String {
    let header = authorization.header();
    let encoded = header.as_bytes().strip_prefix(b"Basic ").unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()).unwrap()
}

fn part(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn the_claim_is_signed_with_the_apps_key_and_exchanged_for_a_token_that_git_takes_as_a_password() {
    for key in keys() {
        let api = Api::start().await;
        let app = GitHubApp::new(" 12\n", "3456", key, Some(&format!("http://{}/api/v3/", api.address))).unwrap();
        let authorization = app.authorization(&client(), now()).await.unwrap();
        assert_eq!(shown(&authorization), "x-access-token:ghs_first");
        let head = api.requests.lock().unwrap()[0].clone();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("POST", "/api/v3/app/installations/3456/access_tokens")
        );
        assert_eq!(head.header("accept"), "application/vnd.github+json");
        let claim = head.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
        let (signed, signature) = claim.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, app.key.public().as_ref());
        public.verify(signed.as_bytes(), &part(signature)).unwrap();
        let header: Value = serde_json::from_slice(&part(header)).unwrap();
        assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT"}));
        let claims: Value = serde_json::from_slice(&part(claims)).unwrap();
        let at = now().as_second();
        assert_eq!(claims, serde_json::json!({"iat": at - 60, "exp": at + 540, "iss": "12"}));
    }
}

#[tokio::test]
async fn a_token_is_kept_until_five_minutes_before_its_end() {
    let api = Api::start().await;
    let (app, client) = (api.app(), client());
    for seconds in [0, 60, 3299] {
        assert_eq!(shown(&app.authorization(&client, later(seconds)).await.unwrap()), "x-access-token:ghs_first");
    }
    assert_eq!((api.calls(), app.tokens().await), (1, 1));
    api.grant("ghs_second", 7200);
    assert_eq!(shown(&app.authorization(&client, later(3300)).await.unwrap()), "x-access-token:ghs_second");
    assert_eq!((api.calls(), app.tokens().await), (2, 2));
    app.forget(later(3301)).await;
    api.grant("ghs_third", 10_800);
    assert_eq!(
        shown(&app.authorization(&client, later(3302)).await.unwrap()),
        "x-access-token:ghs_second",
        "one that has just come is not replaced: each try would be one more attempt"
    );
    app.forget(later(3900)).await;
    assert_eq!(shown(&app.authorization(&client, later(3901)).await.unwrap()), "x-access-token:ghs_third");
    assert_eq!((api.calls(), app.tokens().await), (3, 3));
}

#[tokio::test]
async fn while_no_new_token_comes_the_old_one_is_used_to_its_end() {
    let api = Api::start().await;
    let (app, client) = (api.app(), client());
    app.authorization(&client, now()).await.unwrap();
    api.say("502 Bad Gateway", "", "");
    assert_eq!(shown(&app.authorization(&client, later(3400)).await.unwrap()), "x-access-token:ghs_first");
    let error = app.authorization(&client, later(3600)).await.unwrap_err();
    assert_eq!(error.reason, Reason::ServerError);
}

#[tokio::test]
async fn a_refusal_is_asked_for_once_and_tells_what_the_api_said_but_no_token() {
    let api = Api::start().await;
    let (app, client) = (api.app(), client());
    api.say("401 Unauthorized", "", r#"{"message": "A JSON web token could not be decoded", "status": "401"}"#);
    let first = app.authorization(&client, now()).await.unwrap_err();
    let again = app.authorization(&client, later(19)).await.unwrap_err();
    assert_eq!((first.reason, api.calls()), (Reason::AuthFailed, 1));
    assert_eq!(first, again);
    assert!(first.message.contains("GitHub App 12 (installation 3456)"), "{first}");
    assert!(first.message.contains("A JSON web token could not be decoded"), "{first}");
    assert!(first.message.contains("check githubAppID"), "{first}");
    api.say("201 Created", "", r#"{"token": "ghs_canary", "expires_at": "not a time"}"#);
    let error = app.authorization(&client, later(20)).await.unwrap_err();
    assert_eq!((error.reason, api.calls()), (Reason::ProtocolError, 2));
    assert!(!error.message.contains("ghs_canary"), "{error}");
    let claim = api.requests.lock().unwrap()[0].header("authorization").to_owned();
    for text in [format!("{error:?}"), format!("{first:?}"), format!("{app:?}")] {
        assert!(!text.contains(claim.get(7..40).unwrap()), "{text}");
    }
    // A server that sends back what it got is not quoted.
    let claim = claim.strip_prefix("Bearer ").unwrap();
    api.say("401 Unauthorized", "", &serde_json::json!({"message": format!("bad {claim}")}).to_string());
    let error = app.authorization(&client, later(60)).await.unwrap_err();
    assert!(!error.message.contains("eyJ"), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_with_the_difference() {
    let api = Api::start().await;
    let client = client();
    let said = r#"{"message": "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"}"#;
    api.say("401 Unauthorized", "Date: Fri, 02 Jan 2026 03:00:05 GMT\r\n", said);
    let error = api.app().authorization(&client, now()).await.unwrap_err();
    assert!(error.message.contains("clock is 240 s ahead of the server's"), "{error}");
    api.say("401 Unauthorized", "Date: Fri, 02 Jan 2026 04:04:05 GMT\r\n", "{}");
    let error = api.app().authorization(&client, now()).await.unwrap_err();
    assert!(error.message.contains("clock is 3600 s behind the server's"), "{error}");
    api.say("401 Unauthorized", "", r#"{"message": "'Expiration time' claim ('exp') is too far in the future"}"#);
    let error = api.app().authorization(&client, now()).await.unwrap_err();
    assert!(error.message.contains("clock seems to be wrong"), "{error}");
}

#[tokio::test]
async fn every_other_answer_has_its_reason() {
    let api = Api::start().await;
    let client = client();
    for (status, headers, body, reason, words) in [
        ("403 Forbidden", "", r#"{"message":"suspended"}"#, Reason::AuthFailed, "suspended"),
        ("404 Not Found", "", r#"{"message":"Not Found"}"#, Reason::AuthFailed, "check githubAppInstallationID"),
        ("302 Found", "Location: http://elsewhere.test/\r\n", "", Reason::RedirectRefused, "redirects (302)"),
        ("429 Too Many", "Retry-After: 7\r\n", "", Reason::ServerError, "slow down"),
        ("500 Oops", "", "", Reason::ServerError, "500"),
        ("200 OK", "Content-Type: text/html\r\n", "<p>Blocked</p>", Reason::BlockedByProxy, "Blocked"),
    ] {
        api.say(status, headers, body);
        let error = api.app().authorization(&client, now()).await.unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.message.contains(words), "{error}");
        assert_eq!(error.retry_after, (status.starts_with("429")).then(|| Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn the_token_call_takes_the_route_of_the_repository() {
    let api = Api::start().await;
    let proxy = TestProxy::start(api.address, ProxyBehaviour::default()).await;
    let client = HttpClient::new(proxy.egress(None, None), HttpConfig::default());
    let app = GitHubApp::new("1", "2", pkcs1(), Some("http://api.corp.test/v3")).unwrap();
    // An absolute-form request has its body read by the destination only when the proxy passes it on.
    let authorization = app.authorization(&client, now()).await.unwrap();
    assert_eq!(shown(&authorization), "x-access-token:ghs_first");
    assert_eq!(proxy.seen(), ["POST http://api.corp.test/v3/app/installations/2/access_tokens"]);
}

#[test]
fn what_is_no_app_is_refused_by_the_name_of_the_key_and_not_repeated() {
    use GitHubAppError as E;
    let make = |id: &str, installation: &str, key: &[u8], base: Option<&str>| {
        GitHubApp::new(id, installation, key, base).map(|app| app.base().to_string())
    };
    assert_eq!(make("1", "2", pkcs1(), None), Ok("https://api.github.com/".to_owned()));
    assert_eq!(make("1", "2", pkcs1(), Some(" ")), Ok("https://api.github.com/".to_owned()));
    assert_eq!(make("Iv1.x", "2", pkcs1(), None), Err(E::AppId));
    assert_eq!(make("1", "", pkcs1(), None), Err(E::InstallationId));
    assert_eq!(make("1", "2", b"canary", None), Err(E::PrivateKey));
    let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(make("1", "2", elliptic.as_bytes(), None), Err(E::PrivateKey));
    for base in ["api.github.com", "ftp://x/", "https://u:p@x/", "https://x/?a=b", "https://x/#a"] {
        assert_eq!(make("1", "2", pkcs1(), Some(base)), Err(E::BaseUrl), "{base}");
    }
}
