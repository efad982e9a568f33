//! `tidelock probe`: whether a URL answers 200, asked until it does. What `helm test` runs in an image that has no shell.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, StatusCode};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::Exit;
use crate::egress::{Egress, EgressError, HttpClient, HttpConfig, HttpResponse, SystemRoots, Timeouts};
use crate::model::parse_duration;

/// Pause between two requests.
const PAUSE: Duration = Duration::from_secs(1);
/// How long each phase of one request may take: of several, one must fit into a short `--timeout`.
const PHASE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are shown. `/readyz` says much less.
const SHOWN_BYTES: usize = 64 * 1024;

/// Arguments of `tidelock probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArguments {
    /// What to ask, directly and by no proxy: `http://tidelock-metrics.tidelock.svc:8080/readyz`
    #[arg(value_name = "URL", value_parser = address)]
    pub url: Url,
    /// How long to ask (`30s`, `2m`) before it is given up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write one such as http://host:8080/readyz"))?;
    match url.scheme() {
        "http" | "https" if url.username().is_empty() && url.password().is_none() => Ok(url),
        "http" | "https" => Err("a user or password in the URL is not sent: leave it out".to_owned()),
        other => Err(format!("the scheme `{other}` can't be asked: http and https can")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a duration such as 30s or 2m".to_owned())
}

/// Why there was no good answer.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The system's certificates can't be told apart from none, or no connection came about until the end.
    #[error("{url} did not answer within {} s: {source}", timeout.as_secs())]
    Unreachable {
        /// What was asked.
        url: Url,
        /// How long.
        timeout: Duration,
        /// The last failure.
        source: Box<EgressError>,
    },
    /// It answered, and never with 200.
    #[error("{url} answers {status} after {} s:\n{body}", timeout.as_secs())]
    NotReady {
        /// What was asked.
        url: Url,
        /// How long.
        timeout: Duration,
        /// The last status.
        status: StatusCode,
        /// The last body.
        body: String,
    },
    /// The time was over before one request was.
    #[error("{url} did not answer within {} s, and no part of the request failed", timeout.as_secs())]
    Silent {
        /// What was asked.
        url: Url,
        /// How long.
        timeout: Duration,
    },
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

/// What one request came to.
enum Answer {
    Good(String),
    Bad(StatusCode, String),
    None(Box<EgressError>),
}

pub(super) async fn run(arguments: ProbeArguments, output: &mut impl Write) -> Result<Exit, ProbeError> {
    let ProbeArguments { url, timeout: limit } = arguments;
    let timeouts =
        Timeouts { dial: PHASE, connect: PHASE, tls: PHASE, first_byte: PHASE, idle: PHASE, ..Timeouts::default() };
    let client = HttpClient::new(Egress::direct(SystemRoots::new()), HttpConfig { timeouts, ..HttpConfig::default() });
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match timeout(left, Box::pin(ask(&client, &url))).await {
            Ok(Answer::Good(body)) => {
                return writeln!(output, "{url} answers 200\n{}", body.trim_end())
                    .map(|()| Exit::Success)
                    .map_err(ProbeError::Print);
            }
            Ok(other) => last = Some(other),
            Err(_) => return Err(given_up(url, limit, last)),
        }
        if Instant::now() + PAUSE >= end {
            return Err(given_up(url, limit, last));
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: &HttpClient, url: &Url) -> Answer {
    match client.get(url, &HeaderMap::new()).await {
        Err(error) => Answer::None(Box::new(error)),
        Ok(mut answer) => match body(&mut answer).await {
            Err(error) => Answer::None(Box::new(error)),
            Ok(body) if answer.status == StatusCode::OK => Answer::Good(body),
            Ok(body) => Answer::Bad(answer.status, body),
        },
    }
}

async fn body(answer: &mut HttpResponse) -> Result<String, EgressError> {
    let whole = answer.read_all(SHOWN_BYTES).await?;
    Ok(whole.map_or_else(
        || format!("(more than {SHOWN_BYTES} bytes)"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    ))
}

fn given_up(url: Url, timeout: Duration, last: Option<Answer>) -> ProbeError {
    match last {
        Some(Answer::Bad(status, body)) => ProbeError::NotReady { url, timeout, status, body },
        Some(Answer::None(source)) => ProbeError::Unreachable { url, timeout, source },
        // A good answer ends the asking, so there was no answer at all.
        Some(Answer::Good(_)) | None => ProbeError::Silent { url, timeout },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// A server that gives these answers one after the other, and the last of them for ever.
    async fn serving(answers: &[(u16, &'static str)]) -> SocketAddr {
        let waiting = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
        let answer = move || {
            let mut waiting = waiting.lock().unwrap();
            let (status, body) = if waiting.len() > 1 { waiting.pop_front().unwrap() } else { waiting[0] };
            async move { (StatusCode::from_u16(status).unwrap(), body) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/readyz", get(answer))).await });
        address
    }

    async fn probe(url: &str, timeout: Duration) -> (Result<Exit, ProbeError>, String) {
        let mut output = Vec::new();
        let arguments = ProbeArguments { url: address(url).unwrap(), timeout };
        let result = run(arguments, &mut output).await;
        (result, String::from_utf8(output).unwrap())
    }

    #[tokio::test]
    async fn it_asks_until_the_answer_is_200() {
        let server = serving(&[(503, "lease: not yet\n"), (200, "ready\n")]).await;
        let (result, output) = probe(&format!("http://{server}/readyz"), Duration::from_secs(60)).await;
        assert_eq!(result.unwrap(), Exit::Success);
        assert_eq!(output, format!("http://{server}/readyz answers 200\nready\n"));
    }

    #[tokio::test]
    async fn what_is_missing_is_told_when_the_time_is_over() {
        let server = serving(&[(503, "crds: applications.tidelock.dev is not installed\n")]).await;
        let (result, output) = probe(&format!("http://{server}/readyz"), Duration::from_millis(500)).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            format!(
                "http://{server}/readyz answers 503 Service Unavailable after 0 s:\ncrds: applications.tidelock.dev is not installed\n"
            )
        );
        assert_eq!(output, "");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_with_the_reason() {
        let (result, _) = probe("http://127.0.0.1:1/readyz", Duration::from_millis(500)).await;
        let Err(ProbeError::Unreachable { source, .. }) = result else { panic!("it was reached") };
        assert_eq!(source.reason.as_str(), "ConnectFailed");
    }

    #[test]
    fn an_address_that_can_t_be_asked_is_refused() {
        assert_eq!(address("ftp://host/").unwrap_err(), "the scheme `ftp` can't be asked: http and https can");
        assert_eq!(
            address("http://user:word@host/").unwrap_err(),
            "a user or password in the URL is not sent: leave it out"
        );
    }
}
