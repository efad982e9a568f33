//! Statements about the way out: which one is taken, how a proxy is logged in to, and whom it is trusted to be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::join_all;
use serde_json::json;

use crate::airgap_table::Resources;
use crate::support::application::{Application, ready_message};
use crate::support::cluster::SECRET;
use crate::support::git::{GitRepository, file};
use crate::support::installation::{GIT_CA, Installation};
use crate::support::journals::{Mark, ProxyRequest, dns_mark, git_mark, git_requests, proxy_mark, proxy_requests};
use crate::support::manifests::config_map;
use crate::support::misbehaving::{self, Contact};
use crate::support::reach::{CLIENT_CERTIFICATE, PROXY_TLS_CA, Way, asked_names, assert_says, dialled};
use crate::support::testbed::Testbed;

/// A repository with one ConfigMap; its first commit.
fn one_file(installation: &Installation, name: &str) -> (GitRepository, String) {
    let git = installation.repository(name);
    let commit = git.commit([("app/cm.yaml", file(config_map(name, "1")))]);
    (git, commit)
}

/// Packets past the proxy to where the git servers are.
fn towards_git(bed: &Testbed) -> Vec<String> {
    dialled(bed)
        .into_iter()
        .filter(|(place, _)| place.starts_with("198.51.100."))
        .map(|entry| format!("{entry:?}"))
        .collect()
}

#[tokio::test]
async fn airgap_01_with_only_the_proxy_reachable_and_no_names_a_repository_is_cloned_polled_and_followed() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag01").await;
    let target = installation.target("t").await;
    let (dns, before) = (dns_mark(), towards_git(bed));
    let (git, first) = one_file(&installation, "only");
    let seen = git_mark();
    installation.declare(Application::named("only", &git.url, "app", &target).polled_every("2s")).await;
    installation.healthy("only", &first).await;
    installation
        .wait("it was polled twice", async || {
            let polls = git_requests(&seen, &git.path).iter().filter(|request| request.command == "ls-refs").count();
            if polls >= 3 { Ok(()) } else { Err(format!("{polls} polls")) }
        })
        .await;
    let second = git.commit([("app/cm.yaml", file(config_map("only", "2")))]);
    installation.healthy("only", &second).await;
    assert_eq!(asked_names(&dns), Vec::<String>::new(), "names asked for in the operator's place");
    assert_eq!(towards_git(bed), before, "dialled past the proxy");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_02_with_https_proxy_set_and_no_proxy_unset_nothing_inside_the_cluster_goes_to_the_proxy() {
    let bed = Testbed::shared();
    let mut installation = Installation::prepare("ag02").await;
    installation.apply_secrets().await;
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"] {
        installation.operator.set_environment(name, &bed.proxy_open_url);
    }
    let mark = proxy_mark();
    installation.operator.start().await;
    let target = installation.target("t").await;
    let (git, commit) = one_file(&installation, "environment");
    let way = Way::direct("environment", &git.url).unset("egress");
    installation.take(&way, &target).await;
    installation.healthy("environment", &commit).await;
    installation.finish().await;
    let asked = proxy_requests(&mark);
    let used: Vec<&ProxyRequest> =
        asked.iter().filter(|request| request.user == "-" && request.host() == bed.git_host()).collect();
    assert!(!used.is_empty(), "the proxy of the environment was not used: {asked:#?}");
    let inside: Vec<&ProxyRequest> = asked.iter().filter(|request| !request.host().ends_with(".corp.test")).collect();
    assert!(inside.is_empty(), "asked of the proxy: {inside:#?}");
}

#[tokio::test]
async fn airgap_03_link_local_credential_addresses_are_never_proxied() {
    let installation = Installation::start("ag03").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    let addresses =
        [("v4", "169.254.169.254"), ("pods", "169.254.170.23"), ("v6", "[fd00:ec2::23]"), ("local", "[fe80::1]")];
    for (name, address) in addresses {
        // All that could send it through a proxy says so.
        let way = Way::by(name, &misbehaving::url("slot:9"), &format!("http://{address}/v1/x.git"))
            .set_proxy("hosts", json!(["169.254.0.0/16", "169.254.170.23", "169.254.169.254"]))
            .unset("caSecretRef")
            .unset("credentialsSecretRef");
        installation.take(&way, &target).await;
    }
    for (name, _) in addresses {
        let report = installation.repository_says(name, &["ConnectTimeout", "ConnectFailed"]).await;
        assert_says(&report, &["route direct"]);
    }
    let seen = misbehaving::contacts(&mark, "slot:9");
    assert!(seen.is_empty(), "asked of the proxy: {seen:#?}");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_06_a_repositorys_own_proxy_is_taken_before_the_default_and_direct_before_both() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag06").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": "everybody"},
            "spec": {"url": misbehaving::url("slot:10"), "default": true, "hosts": ["*.corp.test", bed.black_hole_address]},
        }))
        .await;
    let mark = misbehaving::mark();
    let (default, first) = one_file(&installation, "default");
    let (own, second) = one_file(&installation, "own");
    installation.take(&Way::direct("default", &default.url).unset("egress"), &target).await;
    installation.healthy("default", &first).await;
    let by_default = misbehaving::contacts(&mark, "slot:10").len();
    installation.take(&Way::by("own", &misbehaving::url("slot:11"), &own.url), &target).await;
    installation.healthy("own", &second).await;
    let direct = Way::direct("direct", &format!("https://{}/x.git", bed.black_hole_address)).timer("dial", "1s");
    installation.take(&direct, &target).await;
    assert_says(&installation.repository_says("direct", &["ConnectTimeout"]).await, &["route direct"]);
    installation.finish().await;
    let of = |slot: &str| -> Vec<Contact> { misbehaving::contacts(&mark, slot) };
    assert!(!of("slot:11").is_empty(), "the repository's own proxy was not used");
    let targets: BTreeSet<String> =
        of("slot:10").into_iter().chain(of("slot:11")).map(|contact| contact.target).collect();
    assert_eq!(targets, BTreeSet::from([format!("{}:443", bed.git_host())]));
    assert!(of("slot:10").len() >= by_default);
}

/// How the misbehaving proxy writes a login into its log.
fn logged(username: &str, password: &str) -> String {
    let value = format!("Basic {}", BASE64.encode(format!("{username}:{password}")));
    let digest = ring::digest::digest(&ring::digest::SHA256, value.as_bytes());
    digest.as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn airgap_07_a_password_may_hold_any_printable_bytes_and_is_replaced_without_a_restart() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag07").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let all: String = (' '..='~').collect();
    let passwords =
        [all.as_str(), "%41%zz %", "päß→🔑", " leading and trailing ", "a:b:c@d/e?f#g", "\"quoted\\\"", "$HOME `id`"];
    let mark = misbehaving::mark();
    for (index, password) in passwords.iter().enumerate() {
        let name = format!("bytes-{index}");
        let secret = format!("{name}-login");
        installation.apply_login(&secret, "us er@corp", password).await;
        let (git, _) = one_file(&installation, &name);
        let way = Way::by(&name, &misbehaving::url("slot:12"), &git.url)
            .set_proxy("credentialsSecretRef", json!({"name": secret}));
        installation.take(&way, &target).await;
    }
    for index in 0..passwords.len() {
        installation.repository_says(&format!("bytes-{index}"), &["Connected"]).await;
    }

    // A wrong one, and then, in the same Secret, the right one; nobody else is told.
    misbehaving::set_slot("slot:13", "login:basic");
    installation.apply_login("rotated", &bed.proxy_username, "yesterday's").await;
    let (git, commit) = one_file(&installation, "rotated");
    let way = Way::by("rotated", &misbehaving::url("slot:13"), &git.url)
        .set_proxy("credentialsSecretRef", json!({"name": "rotated"}));
    for object in way.objects() {
        installation.apply(object).await;
    }
    installation.declare(way.application(&target).polled_every("3s")).await;
    installation.repository_says("rotated", &["ProxyAuthRequired"]).await;
    installation.apply_login("rotated", &bed.proxy_username, &bed.proxy_password).await;
    installation.healthy("rotated", &commit).await;
    installation.finish().await;
    let seen: BTreeSet<String> =
        misbehaving::contacts(&mark, "slot:12").into_iter().map(|contact| contact.credentials).collect();
    let wanted: BTreeSet<String> = passwords.iter().map(|password| logged("us er@corp", password)).collect();
    assert_eq!(seen, wanted, "logins as the proxy saw them");
}

#[tokio::test]
async fn airgap_09_the_login_comes_with_the_first_request_at_squid_at_tinyproxy_and_where_403_is_all_one_gets() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag09").await;
    installation.apply_secrets().await;
    installation.apply_login("tiny", &bed.proxy_username, &bed.tinyproxy_password).await;
    misbehaving::set_slot("slot:14", "login:forbidden");
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    let mut commits = Vec::new();
    for (name, url) in
        [("squid", &bed.proxy_url), ("tinyproxy", &bed.tinyproxy_url), ("silent-403", &misbehaving::url("slot:14"))]
    {
        let (git, commit) = one_file(&installation, name);
        let mut way = Way::by(name, url, &git.url);
        if name == "tinyproxy" {
            way = way.set_proxy("credentialsSecretRef", json!({"name": "tiny"}));
        }
        installation.take(&way, &target).await;
        commits.push((name, commit));
    }
    for (name, commit) in &commits {
        installation.healthy(name, commit).await;
    }
    installation.finish().await;
    let seen = misbehaving::contacts(&mark, "slot:14");
    assert!(
        !seen.is_empty() && seen.iter().all(|contact| contact.scheme == "Basic" && contact.credentials_ok),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn airgap_10_challenges_in_one_header_or_in_several_do_not_keep_basic_from_working() {
    let installation = Installation::start("ag10").await;
    installation.apply_secrets().await;
    misbehaving::set_slot("slot:15", "login:joined");
    misbehaving::set_slot("slot:16", "login:repeated");
    installation.apply_login("wrong", "operator", "wrong").await;
    let target = installation.target("t").await;
    for (slot, name, refused) in [("slot:15", "joined", "joined-wrong"), ("slot:16", "repeated", "repeated-wrong")] {
        let (git, commit) = one_file(&installation, name);
        installation.take(&Way::by(name, &misbehaving::url(slot), &git.url), &target).await;
        installation.healthy(name, &commit).await;
        let (git, _) = one_file(&installation, refused);
        let way = Way::by(refused, &misbehaving::url(slot), &git.url)
            .set_proxy("credentialsSecretRef", json!({"name": "wrong"}));
        installation.take(&way, &target).await;
        assert_says(
            &installation.repository_says(refused, &["ProxyAuthRequired"]).await,
            &["407", "Negotiate", "Basic"],
        );
    }
    installation.finish().await;
}

/// Distances between the connections to a slot, in seconds.
fn distances(mark: &Mark, slot: &str) -> Vec<f64> {
    let mut times: Vec<f64> = misbehaving::contacts(mark, slot).iter().map(Contact::second).collect();
    times.sort_by(f64::total_cmp);
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test]
async fn airgap_11_where_only_ntlm_or_negotiate_is_offered_the_error_lists_them_and_each_interval_costs_one_attempt() {
    let installation = Installation::start("ag11").await;
    installation.apply_secrets().await;
    misbehaving::set_slot("slot:17", "auth:ntlm");
    misbehaving::set_slot("slot:18", "auth:negotiate");
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    let cases = [("slot:17", "ntlm", "NTLM"), ("slot:18", "negotiate", "Negotiate")];
    let mut ways = Vec::new();
    for (slot, name, _) in cases {
        let (git, _) = one_file(&installation, name);
        ways.push(Way::by(name, &misbehaving::url(slot), &git.url));
    }
    installation.open(&ways).await;
    for way in &ways {
        installation.declare(way.application(&target).polled_every("5s")).await;
    }
    for (_, name, scheme) in cases {
        let report = installation.repository_says(name, &["ProxyAuthRequired"]).await;
        assert_says(&report, &["407", scheme, "Basic"]);
    }
    // A way that has just been opened is a reason to try at once; from here on there is none but the interval.
    let attempts = |slot: &str| misbehaving::contacts(&mark, slot).len();
    let settled = cases.map(|(slot, _, _)| attempts(slot));
    for ((slot, name, _), settled) in cases.into_iter().zip(settled) {
        installation
            .wait(&format!("{name} was tried in three more intervals"), async || {
                if attempts(slot) >= settled + 3 { Ok(()) } else { Err(format!("{} attempts", attempts(slot))) }
            })
            .await;
        let distances = &distances(&mark, slot)[settled - 1..];
        assert!(distances.iter().all(|pause| *pause >= 4.4), "{name}: attempts at distances of {distances:?} s");
    }
    installation.finish().await;
}

#[tokio::test]
async fn airgap_12_a_proxy_over_tls_has_an_authority_of_its_own_and_may_want_a_client_certificate() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag12").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let way = |name: &str, proxy: &str, authority: &str| {
        let (git, commit) = one_file(&installation, name);
        (Way::by(name, proxy, &git.url).set_proxy("caSecretRef", json!({"name": authority})), commit)
    };
    let (own, first) = way("own", &bed.proxy_tls_url, PROXY_TLS_CA);
    let (mutual, second) = way("mutual", &bed.proxy_mutual_tls_url, PROXY_TLS_CA);
    let mutual =
        mutual.without_proxy_login().set_proxy("clientCertificateSecretRef", json!({"name": CLIENT_CERTIFICATE}));
    let (swapped, _) = way("swapped", &bed.proxy_tls_url, GIT_CA);
    let (elsewhere, _) = way("elsewhere", &bed.proxy_tls_url, PROXY_TLS_CA);
    // The proxy's authority vouches for what it intercepts too, so the repository's must not come from there alone.
    let elsewhere = elsewhere.unset("caSecretRef");
    for way in [&own, &mutual, &swapped, &elsewhere] {
        installation.take(way, &target).await;
    }
    installation.healthy("own", &first).await;
    installation.healthy("mutual", &second).await;
    assert_says(&installation.repository_says("swapped", &["ProxyTlsUntrusted"]).await, &["Proxy CA", "caSecretRef"]);
    assert_says(&installation.repository_says("elsewhere", &["TlsUntrusted"]).await, &["Git CA"]);
    installation.finish().await;
}

#[tokio::test]
async fn airgap_13_interception_is_trusted_by_proxy_or_by_repository_and_otherwise_named_within_ten_seconds_a_hundred_times()
 {
    let bed = Testbed::shared();
    let installation = Installation::start("ag13").await;
    installation.apply_secrets().await;
    installation.apply_ca("interception", &bed.proxy_ca).await;
    let target = installation.target("t").await;
    let (git, first) = one_file(&installation, "by-proxy");
    let by_proxy = Way::by("by-proxy", &bed.proxy_intercept_url, &git.url)
        .set_proxy("caSecretRef", json!({"name": "interception"}))
        .unset("caSecretRef");
    let (git, second) = one_file(&installation, "by-host");
    let by_host =
        Way::by("by-host", &bed.proxy_intercept_url, &git.url).set("caSecretRef", json!({"name": "interception"}));
    installation.take(&by_proxy, &target).await;
    installation.take(&by_host, &target).await;
    installation.healthy("by-proxy", &first).await;
    installation.healthy("by-host", &second).await;

    let unknown: Vec<String> = (0..4).map(|index| format!("unknown-{index}")).collect();
    let begun = Instant::now();
    for name in &unknown {
        let (git, _) = one_file(&installation, name);
        installation.take(&Way::by(name, &bed.proxy_intercept_url, &git.url), &target).await;
    }
    for name in &unknown {
        let report = installation.repository_says(name, &["TlsUntrusted"]).await;
        assert_says(&report, &["Interception CA", bed.git_host()]);
        let has_fingerprint = ready_message(&report)
            .split(|character: char| !(character.is_ascii_hexdigit() || character == ':'))
            .any(|word| word.chars().filter(char::is_ascii_hexdigit).count() == 64);
        assert!(has_fingerprint, "no SHA-256 fingerprint in: {}", ready_message(&report));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
    let fail = async |times: usize| {
        join_all(unknown.iter().map(async |name| {
            for _ in 0..times {
                installation.refresh_repository(name).await;
            }
        }))
        .await;
    };
    fail(3).await;
    let before = Resources::of(&installation);
    fail(25).await;
    let after = Resources::of(&installation);
    assert!(
        after.threads <= before.threads + 6 && after.descriptors <= before.descriptors + 10,
        "{before:?}, after a hundred failures {after:?}"
    );
    installation.finish().await;
}

#[tokio::test]
async fn airgap_14_an_authority_that_one_repository_trusts_is_not_trusted_for_another() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag14").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let (git, commit) = one_file(&installation, "with");
    installation.take(&Way::by("with", &bed.proxy_url, &git.url), &target).await;
    let (git, _) = one_file(&installation, "without");
    // The same proxy object, so that nothing but the authority differs.
    let without =
        Way::direct("without", &git.url).set("egress", json!({"proxyRef": {"name": "with"}})).unset("caSecretRef");
    installation.take(&without, &target).await;
    installation.healthy("with", &commit).await;
    assert_says(&installation.repository_says("without", &["TlsUntrusted"]).await, &["Git CA"]);
    installation.refresh_repository("with").await;
    installation.refresh_repository("without").await;
    installation.repository_says("with", &["Connected"]).await;
    installation.repository_says("without", &["TlsUntrusted"]).await;
    installation.finish().await;
}

#[tokio::test]
async fn airgap_15_a_repository_in_clear_text_is_asked_for_in_absolute_form_and_no_packet_goes_to_its_host() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag15").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let (git, commit) = one_file(&installation, "plain");
    // An address, so that nothing but the proxy is in the way of dialling it.
    let url = git.url.replace(&bed.git_https_url, "http://198.51.100.10");
    let (mark, before) = (misbehaving::mark(), towards_git(bed));
    installation.take(&Way::by("plain", &misbehaving::url("slot:19"), &url).unset("caSecretRef"), &target).await;
    installation.healthy("plain", &commit).await;
    installation.finish().await;
    let seen = misbehaving::contacts(&mark, "slot:19");
    let absolute =
        |contact: &Contact| ["GET", "POST"].contains(&contact.method.as_str()) && contact.target.starts_with(&url);
    assert!(seen.len() >= 2 && seen.iter().all(absolute), "{seen:#?}");
    assert_eq!(towards_git(bed), before, "packets past the proxy");
}

#[tokio::test]
async fn airgap_16_socks5_with_names_resolved_by_the_proxy_carries_https_with_and_without_a_password() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag16").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let (dns, socks) = (dns_mark(), Mark::end_of(&bed.socks_log));
    let (git, first) = one_file(&installation, "open");
    installation.take(&Way::by("open", &bed.socks_url, &git.url).without_proxy_login(), &target).await;
    let (git, second) = one_file(&installation, "password");
    installation.take(&Way::by("password", &bed.socks_password_url, &git.url), &target).await;
    let (git, third) = one_file(&installation, "plain");
    let plain = git.url.replace(&bed.git_https_url, &bed.git_http_url);
    installation
        .take(&Way::by("plain", &bed.socks_url, &plain).without_proxy_login().unset("caSecretRef"), &target)
        .await;
    for (name, commit) in [("open", first), ("password", second), ("plain", third)] {
        installation.healthy(name, &commit).await;
    }
    installation.finish().await;
    assert_eq!(asked_names(&dns), Vec::<String>::new(), "names asked for in the operator's place");
    let seen = socks.lines();
    assert!(seen.iter().any(|line| line.contains(bed.git_host())), "the proxy was not told the name: {seen:#?}");
}

/// A Secret for `ssh://` with one of the clients' keys.
async fn apply_ssh_login(installation: &Installation, name: &str, key: &str) {
    let bed = Testbed::shared();
    let read = |file: &std::path::Path| crate::support::testbed::read(file);
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name.replace('_', "-")},
            "stringData": {"sshPrivateKey": read(&bed.ssh_directory.join(key)), "known_hosts": read(&bed.ssh_known_hosts)},
        }))
        .await;
}

/// A way to a repository over SSH.
fn ssh(name: &str, proxy: &str, host: &str, git: &GitRepository, login: &str) -> Way {
    let url = format!("ssh://git@{host}{}", git.path);
    Way::by(name, proxy, &url)
        .unset("caSecretRef")
        .set("credentialsSecretRef", json!({"name": login.replace('_', "-")}))
}

#[tokio::test]
async fn airgap_16_socks5_with_names_resolved_by_the_proxy_carries_ssh() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag16ssh").await;
    installation.apply_secrets().await;
    apply_ssh_login(&installation, "key", "client_ed25519").await;
    let target = installation.target("t").await;
    let dns = dns_mark();
    let (git, commit) = one_file(&installation, "ssh");
    installation.take(&ssh("ssh", &bed.socks_password_url, &bed.ssh_host, &git, "key"), &target).await;
    installation.healthy("ssh", &commit).await;
    installation.finish().await;
    assert_eq!(asked_names(&dns), Vec::<String>::new());
}

#[tokio::test]
async fn airgap_17_ssh_goes_through_connect_on_port_22_and_443_with_every_kind_of_key_and_the_host_key_is_checked() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag17").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    let alternative = format!("{}:443", bed.alternative_ssh_host);
    let proxy = misbehaving::url("slot:20");
    let cases = [
        ("ed25519", "client_ed25519", bed.ssh_host.clone(), bed.proxy_open_url.clone()),
        ("ecdsa", "client_ecdsa", bed.ssh_host.clone(), proxy.clone()),
        ("rsa", "client_rsa", bed.ssh_host.clone(), proxy.clone()),
        ("port-443", "client_ed25519", alternative, proxy.clone()),
    ];
    let mut commits = Vec::new();
    for (name, key, host, proxy) in &cases {
        apply_ssh_login(&installation, key, key).await;
        let (git, commit) = one_file(&installation, name);
        let mut way = ssh(name, proxy, host, &git, key);
        if *name == "ed25519" {
            way = way.without_proxy_login();
        }
        installation.take(&way, &target).await;
        commits.push((*name, commit));
    }
    apply_ssh_login(&installation, "stranger", "stranger").await;
    let (git, _) = one_file(&installation, "stranger");
    installation.take(&ssh("stranger", &proxy, &bed.ssh_host, &git, "stranger"), &target).await;
    // The host is known by another key.
    let (git, _) = one_file(&installation, "other-key");
    let other = std::fs::read_to_string(bed.ssh_directory.join("stranger.pub")).expect("a key");
    let line = format!("{} {}", bed.ssh_host, other.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-host-key"},
            "stringData": {
                "sshPrivateKey": crate::support::testbed::read(&bed.ssh_directory.join("client_ed25519")), "known_hosts": line,
            },
        }))
        .await;
    installation.take(&ssh("other-key", &proxy, &bed.ssh_host, &git, "other-host-key"), &target).await;
    for (name, commit) in &commits {
        installation.healthy(name, commit).await;
    }
    installation.repository_says("stranger", &["AuthFailed"]).await;
    assert_says(&installation.repository_says("other-key", &["HostKeyUntrusted"]).await, &[&bed.ssh_host, "SHA256"]);
    installation.finish().await;
    let targets: BTreeSet<String> = misbehaving::contacts(&mark, "slot:20")
        .into_iter()
        .filter(|contact| !contact.method.is_empty())
        .map(|contact| contact.target)
        .collect();
    assert_eq!(targets, BTreeSet::from([format!("{}:22", bed.ssh_host), format!("{}:443", bed.alternative_ssh_host)]));
}

#[tokio::test]
async fn airgap_24_no_way_to_fail_shows_a_password() {
    const CANARY: &str = "canary-out/w@rd:7d21";
    let installation = Installation::start("ag24").await;
    installation.apply_secrets().await;
    installation.apply_login("canary", "canary-user", CANARY).await;
    let target = installation.target("t").await;
    let slots = [
        ("basic", "auth:basic", "ProxyAuthRequired"),
        ("ntlm", "auth:ntlm", "ProxyAuthRequired"),
        ("page", "html:403", "ProxyForbidden"),
        ("garbage", "head:garbage", "ProxyUnreachable"),
        ("upstream", "status:502", "ProxyUpstreamFailed"),
        ("git", "tunnel", "AuthFailed"),
    ];
    for (index, (name, mode, _)) in slots.iter().enumerate() {
        let slot = format!("slot:{}", 24 + index);
        misbehaving::set_slot(&slot, mode);
        let (git, _) = one_file(&installation, name);
        let way = Way::by(name, &misbehaving::url(&slot), &git.url)
            .set_proxy("credentialsSecretRef", json!({"name": "canary"}))
            .set("credentialsSecretRef", json!({"name": "canary"}));
        installation.take(&way, &target).await;
    }
    let mut shown = String::new();
    for (name, _, reason) in slots {
        shown += &installation.repository_says(name, &[reason]).await.to_string();
        shown += &installation
            .wait_application(name, &format!("says {reason}"), |object| {
                crate::support::application::ready_reason(object) == reason
            })
            .await
            .to_string();
    }
    shown += &installation.operator.metrics().0;
    for event in installation.cluster.list(crate::support::cluster::EVENT, &installation.namespace).await {
        shown += &event.to_string();
    }
    assert!(installation.cluster.get(SECRET, &installation.namespace, "canary").await.is_some());
    shown += &installation.operator.logs();
    installation.finish().await;
    for form in crate::proof_09_secrets::forms(CANARY, "canary-user") {
        assert!(!shown.contains(&form), "{form} is shown");
    }
}
