//! Statements about what happens on the way: timers, cuts, refusals, pages, redirects.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::airgap_table::Resources;
use crate::support::application::{Application, condition, ready_message, ready_reason, revision};
use crate::support::cluster::REPOSITORY;
use crate::support::git::{Change, GitRepository, file};
use crate::support::git_faults;
use crate::support::installation::Installation;
use crate::support::journals::{GitRequest, Mark, git_mark, git_requests};
use crate::support::manifests::config_map;
use crate::support::misbehaving::{self, Contact};
use crate::support::reach::{Way, assert_says};
use crate::support::testbed::Testbed;

/// Longer than a test waits: a timer that has this value is not the one that ends something.
const LONG: &str = "5m";

fn noise(bytes: usize) -> Change {
    Change::File((0..bytes).map(|_| fastrand::u8(..)).collect())
}

/// A repository whose pack is too big to slip through.
fn big(installation: &Installation, name: &str) -> (GitRepository, String) {
    let git = installation.repository(name);
    let commit = git.commit([("app/cm.yaml", file(config_map(name, "1"))), ("noise", noise(200_000))]);
    (git, commit)
}

/// All timers long but one.
fn with_one_timer(way: Way, phase: &str, limit: &str) -> Way {
    let all = json!({"dns": LONG, "dial": LONG, "connect": LONG, "tls": LONG, "firstByte": LONG, "idle": LONG, "total": LONG});
    way.set("timeouts", all).timer(phase, limit)
}

#[tokio::test]
async fn airgap_18_each_phase_has_a_timer_of_its_own_that_ends_it_alone_and_names_it() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag18").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    misbehaving::set_slot("slot:30", "accept:silent");
    misbehaving::set_slot("slot:31", "stall:0");
    misbehaving::set_slot("slot:32", "stall:20000");
    misbehaving::set_slot("slot:33", "trickle:3000:100000");
    let tunnel = misbehaving::url("tunnel");
    let silent_proxy = bed.proxy_silent_url.clone();
    let cases = [
        ("dial", silent_proxy, "dial", "ProxyUnreachable", "phase dial"),
        ("connect", misbehaving::url("slot:30"), "connect", "ProxyUnreachable", "phase connect"),
        ("tls", misbehaving::url("slot:31"), "tls", "TlsFailed", "phase tls"),
        ("first-byte", tunnel, "firstByte", "ServerSilent", "phase first-byte"),
        ("idle", misbehaving::url("slot:32"), "idle", "Stalled", "phase transfer"),
        ("total", misbehaving::url("slot:33"), "total", "Stalled", "2 s"),
    ];
    for (name, proxy, timer, _, _) in &cases {
        let (git, _) = big(&installation, name);
        if *name == "first-byte" {
            git_faults::set(&git.path, "stall");
        }
        installation.take(&with_one_timer(Way::by(name, proxy, &git.url), timer, "2s"), &target).await;
    }
    for (name, _, _, reason, words) in &cases {
        let report = installation.repository_says(name, &[reason]).await;
        assert_says(&report, &[words, "2 s"]);
    }
    // Direct routes have the dial of the destination itself.
    let url = format!("https://{}/x.git", bed.black_hole_address);
    installation.take(&with_one_timer(Way::direct("direct", &url), "dial", "2s"), &target).await;
    assert_says(&installation.repository_says("direct", &["ConnectTimeout"]).await, &["phase dial", "2 s"]);
    for (name, _, _, _, _) in &cases {
        git_faults::clear(&format!("/{}-{name}.git", installation.namespace));
    }
    installation.finish().await;
}

#[tokio::test]
async fn airgap_19_a_stall_an_end_and_a_reset_within_a_pack_move_no_ref_leave_no_file_and_are_tried_again_with_growing_pauses()
 {
    let installation = Installation::start("ag19").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let cases = [
        ("slot:34", "stall", "stall:20000", "Stalled"),
        ("slot:35", "end", "cut:20000", "ConnectionCut"),
        ("slot:36", "reset", "reset:20000", "ConnectionCut"),
    ];
    let mut repositories = Vec::new();
    for (slot, name, _, _) in cases {
        misbehaving::set_slot(slot, "tunnel");
        let (git, first) = big(&installation, name);
        let way = Way::by(name, &misbehaving::url(slot), &git.url).timer("idle", "1s");
        installation.take(&way, &target).await;
        repositories.push((git, first));
    }
    for ((_, name, _, _), (_, first)) in cases.iter().zip(&repositories) {
        installation.healthy(name, first).await;
    }

    let mut second = Vec::new();
    let mark = misbehaving::mark();
    for ((slot, name, mode, _), (git, _)) in cases.iter().zip(&repositories) {
        misbehaving::set_slot(slot, mode);
        second.push(git.commit([("app/cm.yaml", file(config_map(name, "2"))), ("noise", noise(200_000))]));
        installation.ask_refresh(crate::support::cluster::APPLICATION, name).await;
    }
    for (slot, name, _, reason) in cases {
        installation.repository_says(name, &[reason]).await;
        installation
            .wait(&format!("{name} was tried again"), async || {
                let count = misbehaving::contacts(&mark, slot).len();
                if count >= 3 { Ok(()) } else { Err(format!("{count} attempts")) }
            })
            .await;
    }
    for ((_, name, _, _), (_, first)) in cases.iter().zip(&repositories) {
        let application = installation.application(name).await;
        assert_eq!(revision(&application), first, "{name} stays where it was");
    }
    for ((slot, _, _, _), (_, _)) in cases.iter().zip(&repositories) {
        misbehaving::set_slot(slot, "tunnel");
    }
    for ((_, name, _, _), second) in cases.iter().zip(&second) {
        installation.healthy(name, second).await;
    }
    let resources = Resources::of(&installation);
    assert_eq!(resources.temporary, Vec::<String>::new(), "left over from transfers");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_20_five_bytes_a_second_for_a_minute_and_then_the_rest_is_a_success() {
    let installation = Installation::start("ag20").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    misbehaving::set_slot("slot:37", "trickle:6000:300");
    let (git, commit) = big(&installation, "trickle");
    // The timers of somebody who sets none.
    installation.take(&Way::by("trickle", &misbehaving::url("slot:37"), &git.url).unset("timeouts"), &target).await;
    let begun = Instant::now();
    installation.wait_for_healthy("trickle", &commit, Duration::from_secs(150)).await;
    assert!(begun.elapsed() > Duration::from_secs(55), "three hundred bytes at five a second did not take a minute");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_21_where_every_connection_is_cut_after_some_bytes_commits_come_in_pieces_and_a_condition_says_so() {
    let installation = Installation::start("ag21").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    misbehaving::set_slot("slot:38", "cut:150000");
    let git = installation.repository("pieces");
    // A history that does not fit into one connection, and a newest commit that hardly does.
    git.commit((0..6).map(|index| (format!("old/noise-{index}"), noise(60_000))));
    let mut changes: Vec<(String, Change)> = (0..6).map(|index| (format!("old/noise-{index}"), Change::Gone)).collect();
    changes.extend((0..6).map(|index| (format!("new/noise-{index}"), noise(60_000))));
    changes.push(("app/cm.yaml".to_owned(), file(config_map("pieces", "1"))));
    let commit = git.commit(changes);
    installation.take(&Way::by("pieces", &misbehaving::url("slot:38"), &git.url), &target).await;
    installation.wait_for_healthy("pieces", &commit, Duration::from_secs(120)).await;
    let repository = installation.cluster.must_get(REPOSITORY, &installation.namespace, "pieces").await;
    let pieced = condition(&repository, "Pieced").cloned().unwrap_or_default();
    assert_eq!((&pieced["status"], &pieced["reason"]), (&json!("True"), &json!("FetchedInPieces")), "{repository:#}");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_22_403_407_500_502_and_503_at_connect_are_told_apart_retry_after_is_heeded_and_407_is_not_tried_again()
{
    let installation = Installation::start("ag22").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    misbehaving::set_slot("slot:21", "status:407");
    misbehaving::set_slot("slot:22", "status:503:9");
    misbehaving::set_slot("slot:23", "status:429:9");
    misbehaving::set_slot("slot:39", "status:500");
    misbehaving::set_slot("slot:42", "status:403");
    misbehaving::set_slot("slot:43", "status:502");
    let cases = [
        ("says-403", misbehaving::url("slot:42"), "ProxyForbidden", "403"),
        ("says-407", misbehaving::url("slot:21"), "ProxyAuthRequired", "407"),
        ("says-500", misbehaving::url("slot:39"), "ProxyFailed", "500"),
        ("says-502", misbehaving::url("slot:43"), "ProxyUpstreamFailed", "502"),
        ("says-503", misbehaving::url("slot:22"), "ProxyUnavailable", "503"),
    ];
    let mut ways = Vec::new();
    for (name, proxy, _, _) in &cases {
        let (git, _) = big(&installation, name);
        ways.push(Way::by(name, proxy, &git.url));
    }
    let (git, _) = big(&installation, "says-429");
    ways.push(Way::by("says-429", &misbehaving::url("slot:23"), &git.url));
    installation.open(&ways).await;
    for way in &ways {
        installation.declare(way.application(&target)).await;
    }
    let mut messages = Vec::new();
    for (name, _, reason, words) in &cases {
        let report = installation.repository_says(name, &[reason]).await;
        assert_says(&report, &[words, "phase connect"]);
        messages.push(ready_message(&report).to_owned());
    }
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), cases.len(), "{messages:#?}");
    let times = |slot: &str| -> Vec<f64> { misbehaving::contacts(&mark, slot).iter().map(Contact::second).collect() };
    installation.repository_says("says-429", &["ProxyUnavailable"]).await;
    // A way that has just been opened is a reason to try at once; from here on there is none but the failure.
    let (refused, failed) = (times("slot:21").len(), times("slot:39").len());
    let settled = ["slot:22", "slot:23"].map(|slot| (slot, times(slot).len()));
    for (slot, settled) in settled {
        installation
            .wait(&format!("{slot} was asked twice more"), async || {
                let times = times(slot);
                if times.len() >= settled + 2 { Ok(()) } else { Err(format!("{times:?}")) }
            })
            .await;
        let times = times(slot);
        let pauses: Vec<f64> = times[settled - 1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|pause| *pause >= 8.8), "{slot}: Retry-After of 9 s, asked again after {pauses:?} s");
    }
    // What may pass was tried with pauses from two seconds on; what may not, once.
    assert!(times("slot:39").len() > failed, "500 may pass");
    assert_eq!(times("slot:21").len(), refused, "407 was tried again");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_23_a_page_instead_of_git_is_called_a_block_page_and_quoted_in_two_hundred_bytes() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag23").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let (git, _) = big(&installation, "clear");
    let clear = git.url.replace(&bed.git_https_url, &bed.git_http_url);
    installation.take(&Way::by("clear", &misbehaving::url("forward:html"), &clear).unset("caSecretRef"), &target).await;
    let portal = format!("https://{}/page/x.git", bed.nginx_host);
    installation.take(&Way::by("portal", &misbehaving::url("tunnel"), &portal), &target).await;
    for (name, words) in [("clear", "Access blocked by policy 4711"), ("portal", "log in to the portal")] {
        let report = installation.repository_says(name, &["BlockedByProxy"]).await;
        assert_says(&report, &[words]);
        let message = ready_message(&report);
        let quote = message.split('"').nth(1).unwrap_or_default();
        assert!(
            !quote.is_empty() && quote.len() <= 200 && !quote.contains('<'),
            "{} bytes of quote in: {message}",
            quote.len()
        );
    }
    installation.finish().await;
}

#[tokio::test]
async fn airgap_25_each_hop_of_a_redirect_has_its_own_way_and_no_login_goes_to_another_host_or_from_tls_to_clear_text()
{
    let bed = Testbed::shared();
    let installation = Installation::start("ag25").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let mark = misbehaving::mark();
    for (name, slot, host) in [("first", "slot:40", &bed.nginx_host), ("second", "slot:41", &bed.nginx_other_host)] {
        installation
            .apply(json!({
                "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": name},
                "spec": {"url": misbehaving::url(slot), "hosts": [host]},
            }))
            .await;
    }
    let (git, commit) = big(&installation, "moved");
    let nginx = Mark::end_of(&bed.nginx_access_log);
    let at = |place: &str| format!("https://{}/{place}{}", bed.nginx_host, git.path);
    installation.take(&Way::direct("moved", &at("moved")).unset("egress"), &target).await;
    installation.take(&Way::direct("login", &at("moved-login")).unset("egress"), &target).await;
    installation.take(&Way::direct("downgrade", &at("downgrade")).unset("egress"), &target).await;
    installation.healthy("moved", &commit).await;
    assert_says(&installation.repository_says("login", &["AuthFailed"]).await, &[&bed.nginx_other_host]);
    assert_says(&installation.repository_says("downgrade", &["RedirectRefused"]).await, &["http"]);
    installation.finish().await;
    for (slot, host) in [("slot:40", &bed.nginx_host), ("slot:41", &bed.nginx_other_host)] {
        let seen = misbehaving::contacts(&mark, slot);
        assert!(
            !seen.is_empty() && seen.iter().all(|contact| contact.target == format!("{host}:443")),
            "{host}: {seen:#?}"
        );
    }
    let requests: Vec<serde_json::Value> = nginx.entries();
    let ours = |request: &&serde_json::Value| request["path"].as_str().unwrap_or_default().contains(&git.path);
    let other: Vec<_> =
        requests.iter().filter(ours).filter(|request| request["host"] == bed.nginx_other_host.as_str()).collect();
    assert!(!other.is_empty() && other.iter().all(|request| request["authorization"] == "no"), "{other:#?}");
    let clear: Vec<_> = requests.iter().filter(ours).filter(|request| request["scheme"] == "http").collect();
    assert!(clear.is_empty(), "{clear:#?}");
}

#[tokio::test]
async fn airgap_26_a_poll_of_twenty_thousand_refs_brings_four_kibibytes_at_most() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag26").await;
    let target = installation.target("t").await;
    let git = installation.repository("refs");
    let commit = git.commit([("app/cm.yaml", file(config_map("refs", "1")))]);
    // As `git pack-refs` leaves them.
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for index in 0..20_000 {
        packed.push_str(&format!("{commit} refs/heads/topic/{index:05}\n"));
    }
    std::fs::write(bed.git_root.join(git.path.trim_start_matches('/')).join("packed-refs"), packed)
        .expect("a repository of ours");
    let mark = git_mark();
    installation.declare(Application::named("refs", &git.url, "app", &target).polled_every("2s")).await;
    installation.healthy("refs", &commit).await;
    let polls: Vec<GitRequest> = installation
        .wait("it was polled three times", async || {
            let polls: Vec<_> =
                git_requests(&mark, &git.path).into_iter().filter(|request| request.command == "ls-refs").collect();
            if polls.len() >= 3 { Ok(polls) } else { Err(format!("{polls:?}")) }
        })
        .await;
    installation.finish().await;
    assert!(polls.iter().all(|poll| poll.response_bytes > 0 && poll.response_bytes <= 4096), "{polls:#?}");
}

#[tokio::test]
async fn airgap_31_a_wrong_repository_password_is_tried_once_in_each_interval() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag31").await;
    installation.apply_secrets().await;
    installation.apply_login("wrong", &bed.git_username, "wrong").await;
    let target = installation.target("t").await;
    let (git, _) = big(&installation, "wrong");
    let mark = git_mark();
    let way =
        Way::by("wrong", &misbehaving::url("tunnel"), &git.url).set("credentialsSecretRef", json!({"name": "wrong"}));
    installation.open(std::slice::from_ref(&way)).await;
    installation.declare(way.application(&target).polled_every("5s")).await;
    let report = installation.repository_says("wrong", &["AuthFailed"]).await;
    assert_says(&report, &["401", "credentialsSecretRef"]);
    let requests: Vec<GitRequest> = installation
        .wait("it was tried in three intervals", async || {
            let requests = git_requests(&mark, &git.path);
            if requests.len() >= 3 { Ok(requests) } else { Err(format!("{} attempts", requests.len())) }
        })
        .await;
    let object = installation.application("wrong").await;
    assert_eq!(ready_reason(&object), "AuthFailed");
    installation.finish().await;
    assert!(requests.iter().all(|request| request.status == 401), "{requests:#?}");
    let pauses: Vec<f64> = requests.windows(2).map(|pair| pair[1].second() - pair[0].second()).collect();
    assert!(pauses.iter().all(|pause| *pause >= 4.4), "attempts at distances of {pauses:?} s");
}
