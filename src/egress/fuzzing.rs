//! Doors for fuzzing: parsers that see bytes of the network. Not part of the program.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::destination::Destination;
use super::error::Place;
use super::rules::Decision;
use super::{EnvironmentProxies, HostPattern, ProxyUrl, Route, tunnel};

/// An answer to CONNECT: ends in a tunnel or in an error, whatever comes, and takes no more than its limit.
pub fn connect_answer(bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let answer = bytes.to_vec();
        let writing = async move {
            let _ = far.write_all(&answer).await;
            let _ = far.shutdown().await;
        };
        let decision = Decision { route: Route::Direct, rule: "fuzzing".to_owned() };
        let place = Place { host: "git.example:443".to_owned(), decision };
        let target = Destination::tcp("git.example", 443);
        let opening = tunnel::open(Box::new(near), &target, None, "fuzzing", &place);
        let (opened, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), opening), writing);
        if let Ok(Err(error)) = opened {
            assert!(error.message.len() < 4096, "a quote is bounded");
        }
    });
}

/// What stands in settings: patterns, proxy URLs, proxy variables.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(pattern) = HostPattern::parse(text) {
        let again = HostPattern::parse(&pattern.to_string());
        assert!(again.is_ok_and(|again| again == pattern), "a pattern reads as it is shown");
    }
    let _ = ProxyUrl::parse(text);
    let names = ["https_proxy", "no_proxy", "HTTP_PROXY"];
    let variables = names.iter().map(|name| ((*name).to_owned(), text.to_owned().into())).collect();
    let reading = EnvironmentProxies::read(&variables);
    assert!(reading.warnings.iter().all(|warning| !warning.contains('\u{0}')));
}
