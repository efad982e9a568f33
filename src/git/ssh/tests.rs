use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::testing::{ServerSetup, SshServer, config, make_key, public_key, timeouts};
use super::{SshChannel, SshConfig, SshTransport};
use crate::egress::testing::{ProxyBehaviour, SocksBehaviour, TestProxy, serve, socks_proxy};
use crate::egress::{Egress, Override, ProxyScheme, ProxyUrl, SystemRoots, Timeouts};
use crate::git::testing::{Fixture, TestStore};
use crate::git::{FetchLimits, GitError, Remote, RemoteConfig, RepositoryUrl, SnapshotLimits};
use crate::model::{Files as _, Reason};

/// Everything up to the end of the advertisement.
async fn advertisement(channel: &mut SshChannel) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"0000") {
        bytes.extend_from_slice(&channel.next_chunk().await.unwrap().expect("an advertisement"));
    }
    String::from_utf8(bytes).unwrap()
}

/// One poll: a list of refs in protocol version 2.
async fn list_refs(transport: &SshTransport) -> String {
    let mut channel = transport.upload_pack(2).await.unwrap();
    let advertised = advertisement(&mut channel).await;
    assert!(advertised.starts_with("000eversion 2\n"), "{advertised}");
    channel.send(Bytes::from_static(b"0014command=ls-refs\n0001001bref-prefix refs/heads/\n0000")).await.unwrap();
    let refs = advertisement(&mut channel).await;
    channel.finish().await;
    refs
}

fn failure(result: Result<SshChannel, GitError>) -> GitError {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error,
    }
}

fn short() -> Timeouts {
    Timeouts { tls: Duration::from_millis(300), first_byte: Duration::from_millis(300), ..timeouts() }
}

/// Anything that is no SSH server, or a bad one. Counts the connections that are open.
async fn odd_server(text: &'static [u8], close: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&open);
    let address = serve(None, move |mut stream| {
        let open = Arc::clone(&shared);
        async move {
            open.fetch_add(1, Ordering::AcqRel);
            let _ = stream.write_all(text).await;
            let _ = stream.flush().await;
            if close {
                let _ = stream.shutdown().await;
            } else {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
            open.fetch_sub(1, Ordering::AcqRel);
        }
    })
    .await;
    (address, open)
}

async fn odd_failure(text: &'static [u8], close: bool) -> GitError {
    let dir = tempfile::tempdir().unwrap();
    let key = make_key(dir.path(), "key", &["-t", "ed25519"]);
    let (address, open) = odd_server(text, close).await;
    let url = RepositoryUrl::parse(&format!("ssh://{address}/x")).unwrap();
    let egress = Egress::direct(SystemRoots::none());
    let transport = SshTransport::new(Some(config(&key, "")), &url, egress, Override::None, short());
    let error = failure(transport.upload_pack(2).await);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while open.load(Ordering::Acquire) > 0 {
        assert!(tokio::time::Instant::now() < deadline, "a failure left its connection open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    error
}

#[tokio::test]
async fn refs_are_listed_and_one_connection_serves_many_polls() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let transport = server.transport(server.config(), &server.url(&fixture));
    let main = fixture.revision("main");
    for _ in 0..3 {
        let refs = list_refs(&transport).await;
        assert!(refs.contains(&format!("{main} refs/heads/main\n")), "{refs}");
    }
    assert_eq!(server.logins(), 1, "{}", server.log());
}

#[tokio::test]
async fn an_older_protocol_is_served_when_it_is_asked_for() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let transport = server.transport(server.config(), &server.url(&fixture));
    let mut channel = transport.upload_pack(0).await.unwrap();
    let advertised = advertisement(&mut channel).await;
    assert!(advertised.contains(&format!("{} HEAD\0", fixture.revision("main"))), "{advertised}");
    channel.send(Bytes::from_static(b"0000")).await.unwrap();
    assert_eq!(channel.next_chunk().await, Ok(None));
}

#[tokio::test]
async fn every_kind_of_key_logs_in_and_every_kind_of_host_key_is_checked() {
    let fixture = Fixture::new();
    let kinds: [&[&str]; 4] = [
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "3072"],
    ];
    let options = vec!["PubkeyAcceptedAlgorithms -ssh-rsa".to_owned(), "HostKeyAlgorithms -ssh-rsa".to_owned()];
    let setup = ServerSetup { host_keys: kinds.iter().map(|kind| kind.to_vec()).collect(), options };
    let server = SshServer::start_with(&setup).await;
    let mut authorized = String::new();
    for (index, kind) in kinds.iter().enumerate() {
        let path = make_key(server.dir.path(), &format!("login{index}"), kind);
        authorized.push_str(&public_key(&path));
        authorized.push('\n');
    }
    std::fs::write(server.dir.path().join("authorized"), authorized).unwrap();
    for (index, kind) in kinds.iter().enumerate() {
        let key = server.dir.path().join(format!("login{index}"));
        // Only this one of the server's host keys is listed.
        let config = config(&key, &server.known_host(&server.name(), index));
        let transport = server.transport(config, &server.url(&fixture));
        assert!(list_refs(&transport).await.contains("refs/heads/main"), "{kind:?}");
    }
}

#[tokio::test]
async fn airgap_17_ssh_through_http_connect_with_a_checked_host_key() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let behaviour = ProxyBehaviour { credentials: Some("ann:s3cret".to_owned()), ..ProxyBehaviour::default() };
    let proxy = TestProxy::start(server.address, behaviour).await;
    let egress = proxy.egress(Some(("ann", "s3cret")), None);
    let user = server.dir.path().join("user");
    let connect = |url: &RepositoryUrl, known: &str, route| {
        SshTransport::new(Some(config(&user, known)), url, egress.clone(), route, timeouts())
    };

    let url = server.url_at("git.corp.test", &fixture);
    let transport = connect(&url, &server.known_host("git.corp.test", 0), Override::None);
    assert!(list_refs(&transport).await.contains("refs/heads/main"));
    assert!(transport.route().starts_with("proxy corporate ("), "{}", transport.route());
    assert_eq!(proxy.seen(), ["CONNECT git.corp.test:22"]);

    // A service's host for port 443 is known by the service's usual name.
    let url = server.url_at("ssh.github.com:443", &fixture);
    let known = server.known_host("github.com", 0);
    let transport = connect(&url, &known, Override::Proxy("corporate".to_owned()));
    assert!(list_refs(&transport).await.contains("refs/heads/main"));
    assert_eq!(proxy.seen()[1..], ["CONNECT ssh.github.com:443"]);

    // The same way, and another server at its end.
    let tried = server.tried_keys();
    let transport = connect(&url, &server.known_host("gitlab.com", 0), Override::Proxy("corporate".to_owned()));
    let error = failure(transport.upload_pack(2).await);
    assert_eq!(error.reason, Reason::HostKeyUntrusted);
    let line = server.known_host("[ssh.github.com]:443", 0);
    assert!(error.message.contains(&format!("spec.knownHosts: {} [rule: the object names", line.trim())), "{error}");
    assert!(
        error
            .message
            .starts_with("request to ssh.github.com:443 failed in phase ssh handshake, route proxy corporate (")
    );
    assert_eq!(server.tried_keys(), tried, "the key was shown to a server that is not trusted");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_the_server_never_seen() {
    let server = SshServer::start().await;
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot port".to_owned();
    let proxy =
        TestProxy::start(server.address, ProxyBehaviour { answer: Some(answer), ..ProxyBehaviour::default() }).await;
    let url = server.url_of("git.corp.test", "/x");
    let transport =
        SshTransport::new(Some(server.config()), &url, proxy.egress(None, None), Override::None, timeouts());
    let error = failure(transport.upload_pack(2).await);
    assert_eq!(error.reason, Reason::ProxyForbidden);
    assert!(error.message.contains("not port") && !server.log().contains("Connection from"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_the_listed_one_is_shown_neither_user_nor_key() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let name = server.name();
    let key = server.dir.path().join("user");
    let other = make_key(server.dir.path(), "other", &["-t", "ed25519"]);
    let listed = server.known_host(&name, 0);
    let only_ecdsa = make_key(server.dir.path(), "ecdsa", &["-t", "ecdsa"]);
    for (known, expected) in [
        (String::new(), "no host key is listed for [127.0.0.1]:".to_owned()),
        (format!("{name} {}", public_key(&other)), "the server shows another host key than the listed one".to_owned()),
        (format!("{listed}@revoked {}", server.known_host("*", 0)), "is listed as @revoked in known_hosts".to_owned()),
        (
            format!("{name} {}", public_key(&only_ecdsa)),
            format!("that known_hosts lists for {name} (ecdsa-sha2-nistp256): it has "),
        ),
        (format!("@cert-authority * {}", public_key(&other)), "(certificates (@cert-authority)): it has".to_owned()),
    ] {
        let transport = server.transport(config(&key, &known), &server.url(&fixture));
        let error = failure(transport.upload_pack(2).await);
        assert_eq!(error.reason, Reason::HostKeyUntrusted, "{error}");
        assert!(error.message.contains(&expected), "{error}");
    }
    assert_eq!(server.tried_keys(), 0, "{}", server.log());
    assert!(!server.log().contains("authenticating user"), "{}", server.log());
}

#[tokio::test]
async fn a_host_certificate_is_trusted_by_its_authority() {
    let fixture = Fixture::new();
    let authority_dir = tempfile::tempdir().unwrap();
    let authority = make_key(authority_dir.path(), "ca", &["-t", "ed25519"]);
    let host = make_key(authority_dir.path(), "host", &["-t", "ed25519"]);
    let signed = std::process::Command::new("ssh-keygen")
        .args(["-q", "-h", "-I", "id", "-n", "127.0.0.1", "-V", "-1d:+1d", "-s"])
        .arg(&authority)
        .arg(host.with_extension("pub"))
        .status();
    assert!(signed.unwrap().success());
    let options = vec![format!("HostKey {}", host.display()), format!("HostCertificate {}-cert.pub", host.display())];
    let server = SshServer::start_with(&ServerSetup { options, ..ServerSetup::default() }).await;
    let known = format!("@cert-authority 127.0.0.1 {}", public_key(&authority));
    let config = config(&server.dir.path().join("user"), &known);
    let transport = server.transport(config, &server.url(&fixture));
    assert!(list_refs(&transport).await.contains("refs/heads/main"));
}

#[tokio::test]
async fn a_key_that_the_server_refuses_is_tried_once() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let wrong = make_key(server.dir.path(), "wrong", &["-t", "ed25519"]);
    let config: SshConfig = config(&wrong, &server.known_host(&server.name(), 0));
    let describe = config.identity.describe();
    let transport = server.transport(config, &server.url(&fixture));
    let error = failure(transport.upload_pack(2).await);
    assert_eq!(error.reason, Reason::AuthFailed);
    assert!(error.message.contains(&format!("phase ssh login, route direct: the server refuses the key ({describe})")));
    server.wait_for_log("Connection closed by authenticating user").await;
    assert_eq!(server.tried_keys(), 1, "{}", server.log());
}

#[tokio::test]
async fn a_missing_repository_is_told_with_what_the_server_says() {
    let server = SshServer::start().await;
    let transport = server.transport(server.config(), &server.url_of(&server.address.to_string(), "/no/such'repo"));
    let mut channel = transport.upload_pack(2).await.unwrap();
    let error = channel.next_chunk().await.unwrap_err();
    assert_eq!(error.reason, Reason::RepositoryNotFound);
    assert!(error.message.contains("no repository `/no/such'repo`"), "{error}");
    assert!(
        error.message.contains("it says: \"fatal: '/no/such'repo' does not appear to be a git repository\""),
        "{error}"
    );
    // The connection is as good as before.
    let error = transport.upload_pack(2).await.unwrap().next_chunk().await.unwrap_err();
    assert_eq!((error.reason, server.logins()), (Reason::RepositoryNotFound, 1));
}

#[tokio::test]
async fn a_user_without_git_is_told_from_a_missing_repository() {
    let setup = ServerSetup { options: vec!["ForceCommand exit 127".to_owned()], ..ServerSetup::default() };
    let server = SshServer::start_with(&setup).await;
    let transport = server.transport(server.config(), &server.url_of(&server.address.to_string(), "/x"));
    let error = transport.upload_pack(2).await.unwrap().next_chunk().await.unwrap_err();
    assert_eq!(error.reason, Reason::ServerError);
    assert!(error.message.contains("the server cannot run `git-upload-pack` (ended with status 127)"), "{error}");
}

#[tokio::test]
async fn servers_that_are_no_ssh_servers_or_bad_ones_are_told_apart_and_leave_no_connection_open() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>\r\n";
    let error = odd_failure(http, true).await;
    assert_eq!(error.reason, Reason::ProtocolError);
    assert!(error.message.contains("not an SSH server: it says \"HTTP/1.1 400 Bad Request Content-Type"), "{error}");

    let error = odd_failure(b"", true).await;
    assert_eq!(error.reason, Reason::ConnectionCut);
    assert!(error.message.contains("closed the connection before it said anything"), "{error}");

    let error = odd_failure(b"", false).await;
    assert_eq!(error.reason, Reason::ServerSilent);
    assert!(error.message.contains("the server said nothing within 0.3 s"), "{error}");

    let error = odd_failure(b"SSH-2.0-slow_1.0\r\n", false).await;
    assert_eq!(error.reason, Reason::ServerSilent);
    assert!(error.message.contains("introduced itself as SSH-2.0-slow_1.0 and did not finish within 0.3 s"), "{error}");

    let error = odd_failure(b"SSH-2.0-busy_1.0\r\n", true).await;
    assert_eq!(error.reason, Reason::ConnectionCut);
    assert!(
        error.message.contains("the server (SSH-2.0-busy_1.0) closed the connection during the handshake"),
        "{error}"
    );

    let error = odd_failure(b"SSH-2.0-odd_1.0\r\n\0\0\0\x0c\x0bgarbage garbage garbage", false).await;
    assert_eq!(error.reason, Reason::ProtocolError, "{error}");

    let mut long: Vec<u8> = b"SSH-2.0-".to_vec();
    long.resize(1 << 20, b'A');
    let error = odd_failure(long.leak(), false).await;
    assert_eq!(error.reason, Reason::ProtocolError);
    assert!(error.message.contains("longer than allowed") && error.message.len() < 500, "{error}");

    let lines: &'static [u8] = "welcome\r\n".repeat(10_000).leak().as_bytes();
    let error = odd_failure(lines, false).await;
    assert_eq!(error.reason, Reason::ProtocolError);
    assert!(error.message.contains("not an SSH server: it says \"welcome welcome"), "{error}");
}

#[tokio::test]
async fn a_command_that_falls_silent_ends_by_its_timers() {
    let setup = ServerSetup { options: vec!["ForceCommand sleep 600".to_owned()], ..ServerSetup::default() };
    let server = SshServer::start_with(&setup).await;
    let url = server.url_of(&server.address.to_string(), "/x");
    let patience = Timeouts { first_byte: Duration::from_secs(3), ..timeouts() };
    let egress = Egress::direct(SystemRoots::none());
    let transport = SshTransport::new(Some(server.config()), &url, egress, Override::None, patience);
    let mut channel = transport.upload_pack(2).await.unwrap();
    let error = channel.next_chunk().await.unwrap_err();
    assert_eq!(error.reason, Reason::ServerSilent);
    assert!(error.message.contains("failed in phase first-byte, route direct: the server did not answer within 3 s"));
    drop(channel);
    // The silent command's connection is not used again.
    let _ = transport.upload_pack(2).await.unwrap();
    assert_eq!(server.logins(), 2);
}

/// Passes connections on to a server, and cuts them when told.
async fn cutting_relay(destination: SocketAddr) -> (SocketAddr, tokio::sync::watch::Sender<u32>) {
    let (cut, told) = tokio::sync::watch::channel(0);
    let address = serve(None, move |mut stream| {
        let mut told = told.clone();
        told.mark_unchanged();
        async move {
            #[expect(clippy::disallowed_methods, reason = "a server of the test")]
            let mut onward = TcpStream::connect(destination).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut stream, &mut onward) => {}
                _ = told.changed() => {}
            }
        }
    })
    .await;
    (address, cut)
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_without_a_word() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let (address, cut) = cutting_relay(server.address).await;
    let name = format!("[127.0.0.1]:{}", address.port());
    let config = config(&server.dir.path().join("user"), &server.known_host(&name, 0));
    let transport = server.transport(config, &server.url_at(&address.to_string(), &fixture));
    list_refs(&transport).await;
    cut.send_modify(|count| *count += 1);
    list_refs(&transport).await;
    list_refs(&transport).await;
    assert_eq!(server.logins(), 2);

    // In the middle of an answer it is told.
    let mut channel = transport.upload_pack(2).await.unwrap();
    advertisement(&mut channel).await;
    cut.send_modify(|count| *count += 1);
    let error = channel.next_chunk().await.unwrap_err();
    assert_eq!(error.reason, Reason::ConnectionCut);
    assert!(error.message.contains("failed in phase transfer, route direct: the connection ended after"), "{error}");
}

#[tokio::test]
async fn a_transport_that_is_dropped_closes_its_connection() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let transport = server.transport(server.config(), &server.url(&fixture));
    list_refs(&transport).await;
    drop(transport);
    server.wait_for_log("Connection closed by").await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let transport = server.transport(server.config(), &server.url(&fixture));
    list_refs(&transport).await;
    // The keeper's timer begins before time is moved.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    // Which of the two depends on whether the server still had something to say.
    server.wait_for_any_log(&["Connection closed by", "Connection reset by"]).await;
    list_refs(&transport).await;
    assert_eq!(server.logins(), 2);
}

#[tokio::test]
async fn no_secret_is_shown_by_any_error_or_debug_form() {
    let server = SshServer::start().await;
    let config = server.config();
    let private = super::testing::read(&server.dir.path().join("user"));
    let body: String = private.lines().filter(|line| !line.starts_with("-----")).collect();
    let shown = format!("{config:?} {:?}", config.identity);
    assert!(!shown.contains(&body[..40]) && !shown.contains("PRIVATE"), "{shown}");
}

fn remote(server: &SshServer, url: RepositoryUrl, known: &str, egress: Egress) -> Remote {
    Remote::new(RemoteConfig {
        url,
        egress,
        route: Override::None,
        authorization: None,
        identity: None,
        ca: None,
        ssh: Some(config(&server.dir.path().join("user"), known)),
        timeouts: timeouts(),
    })
}

async fn fetches_twice(remote: &Remote, fixture: &Fixture) {
    let test = TestStore::new();
    for content in ["three\n", "four\n"] {
        let wanted = fixture.commit(&[("README", content)]);
        let refs = remote.ls_refs(&["refs/heads/main".to_owned()]).await.unwrap();
        let tip = refs.iter().find(|one| one.name == "refs/heads/main").unwrap();
        assert_eq!((refs.len(), &tip.id), (1, &wanted));
        let stats = remote.fetch(&test.store, std::slice::from_ref(&wanted), FetchLimits::default()).await.unwrap();
        assert!(stats.objects > 0);
        let snapshot = test.store.snapshot(&wanted, SnapshotLimits::default()).unwrap();
        assert_eq!(snapshot.read("README").unwrap().map(|bytes| bytes.to_vec()), Some(content.into()));
    }
}

#[tokio::test]
async fn a_remote_resolves_and_fetches_over_one_ssh_connection() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let egress = Egress::direct(SystemRoots::none());
    let remote = remote(&server, server.url(&fixture), &server.known_host(&server.name(), 0), egress);
    fetches_twice(&remote, &fixture).await;
    assert_eq!((server.logins(), remote.route().as_str()), (1, "direct"));
}

#[tokio::test]
async fn a_server_that_does_not_take_the_variable_is_read_in_the_old_version() {
    let setup = ServerSetup {
        options: vec!["ForceCommand unset GIT_PROTOCOL; eval \"$SSH_ORIGINAL_COMMAND\"".to_owned()],
        ..ServerSetup::default()
    };
    let (fixture, server) = (Fixture::new(), SshServer::start_with(&setup).await);
    let egress = Egress::direct(SystemRoots::none());
    let remote = remote(&server, server.url(&fixture), &server.known_host(&server.name(), 0), egress);
    fetches_twice(&remote, &fixture).await;
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn airgap_17_ssh_through_http_connect_with_a_checked_host_key_fetches_a_commit() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let proxy = TestProxy::start(server.address, ProxyBehaviour::default()).await;
    let url = server.url_at("git.corp.test:2222", &fixture);
    let remote = remote(&server, url, &server.known_host("[git.corp.test]:2222", 0), proxy.egress(None, None));
    fetches_twice(&remote, &fixture).await;
    assert_eq!(proxy.seen(), ["CONNECT git.corp.test:2222"]);
}

#[tokio::test]
async fn airgap_16_ssh_through_socks5h_with_a_checked_host_key_leaves_the_name_to_the_proxy() {
    let (fixture, server) = (Fixture::new(), SshServer::start().await);
    let behaviour = SocksBehaviour { credentials: Some(("ann".to_owned(), "s3cret".to_owned())), reply: None };
    let proxy = socks_proxy(server.address, behaviour).await;
    let url = |scheme| ProxyUrl { scheme, host: proxy.address.ip().to_string(), port: proxy.address.port() };
    let egress = proxy.egress_at(url(ProxyScheme::Socks5h), Some(("ann", "s3cret")), None);
    let repository = server.url_at("git.corp.test", &fixture);
    let good = remote(&server, repository.clone(), &server.known_host("git.corp.test", 0), egress.clone());
    fetches_twice(&good, &fixture).await;
    assert_eq!(proxy.seen(), ["git.corp.test 22"]);
    let unknown = remote(&server, repository, &server.known_host("other.corp.test", 0), egress);
    let error = unknown.ls_refs(&[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::HostKeyUntrusted, "{error}");
}

#[tokio::test]
async fn a_repository_without_a_key_says_what_to_write() {
    let url = RepositoryUrl::parse("git@git.test:team/shop").unwrap();
    let egress = Egress::direct(SystemRoots::none());
    let remote = Remote::new(RemoteConfig {
        url,
        egress,
        route: Override::None,
        authorization: None,
        identity: None,
        ca: None,
        ssh: None,
        timeouts: timeouts(),
    });
    let error = remote.ls_refs(&[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::SecretNotFound);
    assert!(error.message.starts_with("ssh://git@git.test/team/shop: no key for SSH: write a Repository"), "{error}");
}
