//! Statements about many repositories and about a long time.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::airgap_table::Resources;
use crate::support::application::{Application, ready_reason, revision};
use crate::support::cluster::APPLICATION;
use crate::support::git::{GitRepository, file};
use crate::support::git_faults;
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY_CREDENTIALS};
use crate::support::journals::{GitRequest, Mark, dns_mark, git_mark, git_requests};
use crate::support::manifests::config_map;
use crate::support::misbehaving::{self, Contact};
use crate::support::reach::{Way, asked_names, dialled};
use crate::support::testbed::Testbed;

/// Requests that one host gets at the same time at most.
const MOST_AT_ONCE: usize = 8;
const REPOSITORIES: usize = 500;
const INTERVAL: f64 = 10.0;

/// The greatest number of requests that were under way at one time.
fn most_at_once(requests: &[GitRequest]) -> usize {
    let mut edges: Vec<(f64, i32)> = Vec::new();
    for request in requests {
        edges.push((request.second(), 1));
        edges.push((request.second() + request.milliseconds / 1000.0, -1));
    }
    // An end at the instant of a beginning comes first.
    edges.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    let (mut now, mut most) = (0_i32, 0_i32);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

/// Polls by repository: the times at which each was asked for its refs.
fn polls(requests: &[GitRequest]) -> BTreeMap<&str, Vec<f64>> {
    let mut found: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.command == "ls-refs" || request.status >= 400) {
        let repository = request.path.split(".git").next().unwrap_or_default();
        found.entry(repository).or_default().push(request.second());
    }
    for times in found.values_mut() {
        times.sort_by(f64::total_cmp);
    }
    found
}

#[tokio::test]
async fn airgap_27_five_hundred_repositories_are_polled_with_jitter_eight_at_a_time_and_less_often_while_their_host_is_busy()
 {
    let bed = Testbed::shared();
    let installation = Installation::start("ag27").await;
    installation.apply_access().await;
    let target = installation.target("t").await;
    let common = installation.repository("many");
    common.commit([("app/cm.yaml", file(config_map("many", "1")))]);
    let prefix = format!("{}-many-", installation.namespace);
    for index in 0..REPOSITORIES {
        let link = bed.git_root.join(format!("{prefix}{index}.git"));
        symlink(bed.git_root.join(common.path.trim_start_matches('/')), link).expect("a new name");
    }
    let path = format!("/{prefix}");
    // An answer takes a while, or there is nothing to be at once.
    git_faults::set(&path, "delay:40");
    let mark = git_mark();
    stream::iter(0..REPOSITORIES)
        .for_each_concurrent(16, async |index| {
            let application =
                Application::named(&format!("many-{index}"), &bed.git_url(&format!("{prefix}{index}")), "app", &target)
                    .polled_every("10s")
                    .spec("syncPolicy", json!({}));
            installation.declare(application).await;
        })
        .await;
    let requests = installation
        .wait_for(Duration::from_secs(150), "every repository was polled three times", async || {
            let requests = git_requests(&mark, &path);
            let polls = polls(&requests);
            let enough = polls.values().filter(|times| times.len() >= 3).count();
            if enough == REPOSITORIES { Ok(requests) } else { Err(format!("{enough} of {}", polls.len())) }
        })
        .await;
    assert!(most_at_once(&requests) <= MOST_AT_ONCE, "{} requests at once", most_at_once(&requests));
    let pauses: Vec<f64> = polls(&requests)
        .values()
        .flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>())
        .collect();
    let tenths: BTreeSet<i64> = pauses.iter().map(|pause| (pause * 10.0).round() as i64).collect();
    let shortest = pauses.iter().copied().fold(f64::MAX, f64::min);
    assert!(shortest >= INTERVAL * 0.88, "a pause of {shortest} s although the interval is {INTERVAL} s");
    assert!(tenths.len() >= 10, "pauses do not differ: {tenths:?} tenths of a second");

    // The host is busy: everybody waits longer each time.
    git_faults::set(&path, "status:503");
    let (busy, since) = (git_mark(), Instant::now());
    let refused = installation
        .wait_for(Duration::from_secs(90), "every repository was refused twice", async || {
            let requests = git_requests(&busy, &path);
            let refused = polls(&requests).values().filter(|times| times.len() >= 2).count();
            if refused == REPOSITORIES { Ok(requests) } else { Err(format!("{refused}")) }
        })
        .await;
    git_faults::clear(&path);
    let elapsed = since.elapsed().as_secs_f64();
    let most = 2.0 + (elapsed / 2.0 + 1.0).log2();
    let refusals = |requests: &[GitRequest]| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in requests.iter().filter(|request| request.status == 503) {
            *counts.entry(request.path.split(".git").next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts
    };
    let hasty: Vec<_> = refusals(&refused).into_iter().filter(|(_, count)| *count as f64 > most).collect();
    assert!(hasty.is_empty(), "more than {most:.1} attempts in {elapsed:.0} s: {hasty:?}");
    assert!(most_at_once(&refused) <= MOST_AT_ONCE, "{} requests at once", most_at_once(&refused));
    installation.finish().await;
}

#[tokio::test]
async fn airgap_28_a_commit_is_noticed_by_polling_alone() {
    let installation = Installation::start("ag28").await;
    let target = installation.target("t").await;
    let git = installation.repository("polled");
    let first = git.commit([("app/cm.yaml", file(config_map("polled", "1")))]);
    installation.declare(Application::named("polled", &git.url, "app", &target).polled_every("2s")).await;
    installation.healthy("polled", &first).await;
    let mark = git_mark();
    let second = git.commit([("app/cm.yaml", file(config_map("polled", "2")))]);
    installation.healthy("polled", &second).await;
    let asked = git_requests(&mark, &git.path).iter().filter(|request| request.command == "ls-refs").count();
    assert!(asked >= 1, "nobody asked");
    let annotations = installation.application("polled").await["metadata"]["annotations"].to_string();
    assert!(!annotations.contains("tidelock.dev/refresh"), "{annotations}");
    installation.finish().await;
}

/// How long the soak is: a minute unless `TIDELOCK_SOAK_SECONDS` says otherwise (`make airgap-soak`: ten minutes).
fn soak_length() -> Duration {
    let seconds = std::env::var("TIDELOCK_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn airgap_50_in_a_long_run_with_weather_the_proxys_log_holds_configured_hosts_only() {
    const WEATHER: [&str; 7] = ["tunnel", "status:503", "tunnel", "head:empty", "cut:3000", "tunnel", "auth:basic"];
    let bed = Testbed::shared();
    // Without the way out of the other tests.
    let mut installation = Installation::prepare("ag50").await;
    installation.operator.start().await;
    installation.apply_login(PROXY_CREDENTIALS, &bed.proxy_username, &bed.proxy_password).await;
    installation.apply_login(GIT_CREDENTIALS, &bed.git_username, &bed.git_password).await;
    installation.apply_ca(GIT_CA, &bed.git_ca).await;
    // The way out of everything, so that whatever leaves is in this log.
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": "everything"},
            "spec": {"url": misbehaving::url("slot:44"), "credentialsSecretRef": {"name": PROXY_CREDENTIALS}, "default": true},
        }))
        .await;
    let target = installation.target("t").await;
    let (mark, dns, before) = (misbehaving::mark(), dns_mark(), dialled(bed));
    let mut repositories: Vec<(GitRepository, String)> = Vec::new();
    for name in ["soak-a", "soak-b", "soak-c", "soak-d"] {
        let git = installation.repository(name);
        git.commit([("app/cm.yaml", file(config_map(name, "0")))]);
        let url = match name {
            "soak-b" => git.url.replace("git.corp.test", "mirror.corp.test"),
            "soak-c" => {
                git.url.replace(&format!("https://{}", bed.git_host()), &format!("https://{}/open", bed.nginx_host))
            }
            _ => git.url.clone(),
        };
        installation.apply(Way::direct(name, &url).unset("egress").objects()[0].clone()).await;
        installation.declare(Application::named(name, &url, "app", &target).polled_every("1s").retrying_soon()).await;
        repositories.push((git, name.to_owned()));
    }
    let end = Instant::now() + soak_length();
    let mut held: Option<Resources> = None;
    let mut round = 0_usize;
    while Instant::now() < end {
        let weather = WEATHER[round % WEATHER.len()];
        misbehaving::set_slot("slot:44", weather);
        round += 1;
        let mut tips = Vec::new();
        for (git, name) in &repositories {
            tips.push((git.commit([("app/cm.yaml", file(config_map(name, &round.to_string())))]), name));
        }
        if weather == "tunnel" {
            for (tip, name) in &tips {
                installation.ask_refresh(APPLICATION, name).await;
                installation.synced(name, tip).await;
            }
            let now = Resources::of(&installation);
            let first = held.get_or_insert_with(|| Resources::of(&installation));
            // Packs that were fetched stay open until they are packed together; connections must not add up.
            assert!(
                now.threads <= first.threads + 10
                    && now.sockets <= first.sockets + 16
                    && now.descriptors <= first.descriptors + 300,
                "after {round} rounds {now:?}, after the first {first:?}"
            );
        } else {
            let seen = misbehaving::mark();
            installation
                .wait(&format!("somebody met {weather}"), async || {
                    if misbehaving::contacts(&seen, "slot:44").is_empty() { Err("nobody".to_owned()) } else { Ok(()) }
                })
                .await;
        }
    }
    misbehaving::set_slot("slot:44", "tunnel");
    installation.finish().await;
    let targets: BTreeSet<String> = misbehaving::contacts(&mark, "slot:44")
        .into_iter()
        .filter(|contact: &Contact| !contact.method.is_empty())
        .map(|contact| contact.target)
        .collect();
    let configured = [bed.git_host(), "mirror.corp.test", bed.nginx_host.as_str()];
    assert_eq!(targets, configured.map(|host| format!("{host}:443")).into_iter().collect(), "in the proxy's log");
    assert_eq!(asked_names(&dns), Vec::<String>::new());
    let elsewhere: Vec<_> = dialled(bed)
        .into_keys()
        .filter(|place| !before.contains_key(place) && place.starts_with("198.51.100."))
        .collect();
    assert!(elsewhere.is_empty(), "dialled past the proxy: {elsewhere:?}");
}

#[tokio::test]
async fn airgap_60_a_url_and_a_revision_that_somebody_else_rewrites_are_followed_without_making_anything_anew() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag60").await;
    let target = installation.target("t").await;
    let origin = installation.repository("origin");
    let first = origin.commit([("app/cm.yaml", file(config_map("rewritten", "origin")))]);
    let copy = installation.repository("origin-0123456789");
    copy.commit([("app/cm.yaml", file(config_map("rewritten", "copy")))]);
    let mirrored = copy.commit_to("mirrored", [("app/cm.yaml", file(config_map("rewritten", "mirrored")))]);
    let mark = Mark::end_of(&bed.git_access_log);
    installation.declare(Application::named("rewritten", &origin.url, "app", &target)).await;
    let before = installation.healthy("rewritten", &first).await;
    let kind = crate::support::cluster::CONFIG_MAP;
    let object = installation.cluster.must_get(kind, &target, "rewritten").await;

    // As a webhook does that sends every source to a copy inside.
    let patch = json!({"spec": {"source": {"repoURL": copy.url, "targetRevision": "mirrored"}}});
    installation.cluster.merge(APPLICATION, &installation.namespace, "rewritten", patch).await;
    let after = installation.healthy("rewritten", &mirrored).await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!((revision(&after), ready_reason(&after)), (mirrored.as_str(), "Succeeded"));
    let changed = installation.cluster.must_get(kind, &target, "rewritten").await;
    assert_eq!(changed["metadata"]["uid"], object["metadata"]["uid"], "the object was made anew");
    assert_eq!(changed["data"]["value"], "mirrored");
    assert!(!git_requests(&mark, &copy.path).is_empty());
    installation.finish().await;
}
