//! Whether traces are exported, where to, and which: from a flag and the variables that OpenTelemetry has agreed on.
//!
//! A flag that is wrong ends the program; a variable that is wrong is told and passed over, since such variables are often put
//! into every pod of a cluster by something that knows nothing of this program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use url::Url;

/// The name of the service unless a variable gives another.
const SERVICE_NAME: &str = "tidelock";
/// How long one request to the collector may take: the default of the specification of OTLP.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where spans go below a base URL, by the specification of OTLP over HTTP.
const TRACES_PATH: &str = "v1/traces";

/// The variables that are read.
const VARIABLES: [&str; 17] = [
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// The variables of OpenTelemetry by their exact names, as they are set. Some hold credentials.
#[derive(Clone, Debug, Default)]
pub struct TraceEnvironment {
    variables: BTreeMap<&'static str, SecretString>,
}

impl TraceEnvironment {
    /// Picks them out by what `variable` finds for a name. An empty one counts as unset, as the specification has it.
    pub(crate) fn pick(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = VARIABLES.into_iter().filter_map(|name| {
            let value = variable(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then(|| (name, SecretString::from(value)))
        });
        Self { variables: set.collect() }
    }

    fn get(&self, name: &'static str) -> Option<&str> {
        self.variables.get(name).map(ExposeSecret::expose_secret)
    }

    /// The variable for traces alone, else the one for all signals, with the name of whichever it is.
    fn either(&self, traces: &'static str, all: &'static str) -> Option<(&'static str, &str)> {
        self.get(traces).map(|value| (traces, value)).or_else(|| self.get(all).map(|value| (all, value)))
    }
}

/// The flag can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "--otlp-endpoint can't be used: {0}; give the base URL of an OTLP/HTTP receiver, such as http://collector.monitoring.svc:4318"
)]
pub struct TraceSettingsError(String);

/// Which traces are exported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceSampler {
    /// All.
    All,
    /// None.
    None,
    /// This share, from 0 to 1, chosen by the trace's id.
    Share(f64),
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The receiver, without credentials.
    pub endpoint: Url,
    /// Sent with every request; values may be credentials.
    pub headers: BTreeMap<String, SecretString>,
    /// Authorities to trust for the receiver besides the system's: a file of PEM.
    pub certificate: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// What sends them: `service.name` and whatever else is to be told.
    pub resource: BTreeMap<String, String>,
    /// Which traces.
    pub sampler: TraceSampler,
}

/// What was gathered, and what was passed over on the way. The sentences hold no value of a variable that may be secret.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Where traces go; `None` when they are off.
    pub settings: Option<TraceSettings>,
    /// For the log.
    pub warnings: Vec<String>,
}

impl TraceSettings {
    /// From the flag and the variables. Without either of them there are no traces.
    ///
    /// # Errors
    /// When the flag is no URL that traces could go to.
    pub fn gather(flag: Option<&str>, environment: &TraceEnvironment) -> Result<Gathered, TraceSettingsError> {
        let mut warnings = Vec::new();
        let endpoint = match flag {
            Some(flag) => Some(base(flag).map_err(TraceSettingsError)?),
            None => endpoint_of(environment, &mut warnings),
        };
        let off = environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || environment.get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let Some(endpoint) = endpoint.filter(|_| !off) else { return Ok(Gathered { settings: None, warnings }) };
        if let Some((name, protocol)) =
            environment.either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/protobuf"
        {
            warnings.push(format!(
                "{name} is not `http/protobuf`, which is all that is spoken here: give the receiver's port for OTLP over HTTP (4318 by \
                 convention)"
            ));
        }
        let settings = Self {
            endpoint,
            headers: headers_of(environment, &mut warnings),
            certificate: environment.get("OTEL_EXPORTER_OTLP_CERTIFICATE").map(PathBuf::from),
            timeout: timeout_of(environment, &mut warnings),
            gzip: gzip_of(environment, &mut warnings),
            resource: resource_of(environment, &mut warnings),
            sampler: sampler_of(environment, &mut warnings),
        };
        Ok(Gathered { settings: Some(settings), warnings })
    }
}

/// A URL that traces could go to. Credentials in it would be shown wherever it is.
fn receiver(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it is not a URL with http or https and a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "it holds credentials: give them in OTEL_EXPORTER_OTLP_HEADERS, as `authorization=Basic%20…`".to_owned()
        );
    }
    Ok(url)
}

/// The URL for traces below a base.
fn base(text: &str) -> Result<Url, String> {
    let mut url = receiver(text)?;
    let path = format!("{}/{TRACES_PATH}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn endpoint_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> Option<Url> {
    type Read = fn(&str) -> Result<Url, String>;
    let candidates: [(&'static str, Read); 2] =
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver), ("OTEL_EXPORTER_OTLP_ENDPOINT", base)];
    let (name, read, value) =
        candidates.into_iter().find_map(|(name, read)| environment.get(name).map(|value| (name, read, value)))?;
    match read(value) {
        Ok(url) => Some(url),
        Err(problem) => {
            warnings.push(format!("no traces are exported: {name} can't be used: {problem}"));
            None
        }
    }
}

/// `key=value,key=value` with percent-encoded values; what is not of this form is told by its place.
fn pairs(name: &str, text: &str, warnings: &mut Vec<String>) -> Vec<(String, String)> {
    let parts = text.split(',').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty());
    parts
        .filter_map(|(index, part)| {
            let pair = part.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            let decoded =
                pair.and_then(|(key, value)| Some((decoded(key)?, decoded(value)?))).filter(|(key, _)| !key.is_empty());
            if decoded.is_none() {
                warnings.push(format!("{name}: entry {} is not of the form key=value and is passed over", index + 1));
            }
            decoded
        })
        .collect()
}

/// Percent-decoded; `None` when it holds a `%` that encodes nothing, or does not end as UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

fn headers_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> BTreeMap<String, SecretString> {
    let mut headers = BTreeMap::new();
    // The more particular one last, so that it wins.
    for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        for (key, value) in pairs(name, environment.get(name).unwrap_or_default(), warnings) {
            let value_is_sound = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
            if key.bytes().all(is_token) && value_is_sound {
                headers.insert(key.to_ascii_lowercase(), SecretString::from(value));
            } else {
                warnings.push(format!("{name}: a name or value that no HTTP header can have is passed over"));
            }
        }
    }
    headers
}

fn timeout_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> Duration {
    let given = environment.either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
    let Some((name, value)) = given else { return TIMEOUT };
    if let Ok(milliseconds @ 1..=600_000) = value.parse() {
        return Duration::from_millis(milliseconds);
    }
    warnings.push(format!("{name} is no number of milliseconds from 1 to 600000; 10000 is used"));
    TIMEOUT
}

fn gzip_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> bool {
    let given = environment.either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
    match given {
        Some((_, "gzip")) => true,
        None | Some((_, "none")) => false,
        Some((name, _)) => {
            warnings.push(format!("{name} is neither `gzip` nor `none`; nothing is compressed"));
            false
        }
    }
}

fn resource_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let mut resource = BTreeMap::from([
        ("service.name".to_owned(), SERVICE_NAME.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    resource.extend(pairs(name, environment.get(name).unwrap_or_default(), warnings));
    if let Some(service) = environment.get("OTEL_SERVICE_NAME") {
        resource.insert("service.name".to_owned(), service.to_owned());
    }
    resource
}

/// No trace has a parent elsewhere, so a sampler that goes by its parent is the one it falls back to.
fn sampler_of(environment: &TraceEnvironment, warnings: &mut Vec<String>) -> TraceSampler {
    let Some(name) = environment.get("OTEL_TRACES_SAMPLER") else { return TraceSampler::All };
    match name.strip_prefix("parentbased_").unwrap_or(name) {
        "always_on" => TraceSampler::All,
        "always_off" => TraceSampler::None,
        "traceidratio" => {
            let Some(argument) = environment.get("OTEL_TRACES_SAMPLER_ARG") else { return TraceSampler::Share(1.0) };
            match argument.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => TraceSampler::Share(share),
                Ok(_) | Err(_) => {
                    warnings.push("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1; all traces are taken".to_owned());
                    TraceSampler::All
                }
            }
        }
        _ => {
            warnings.push(
                "OTEL_TRACES_SAMPLER is none of always_on, always_off and traceidratio, with or without parentbased_; all traces are \
                 taken"
                    .to_owned(),
            );
            TraceSampler::All
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn environment(set: Variables<'_>) -> TraceEnvironment {
        TraceEnvironment::pick(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
        })
    }

    fn gathered(flag: Option<&str>, set: &[(&str, &str)]) -> Gathered {
        TraceSettings::gather(flag, &environment(set)).unwrap()
    }

    #[test]
    fn without_an_endpoint_there_are_no_traces_and_nothing_is_said_of_other_variables() {
        let gathered = gathered(None, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_SAMPLER", "odd")]);
        assert!(gathered.settings.is_none());
        assert_eq!(gathered.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_endpoint_is_the_flags_then_that_of_traces_as_it_is_then_the_base_of_all() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all.test:4318/otlp/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.test/in?tenant=a");
        let table: [(Option<&str>, Variables<'_>, &str); 4] = [
            (Some("http://flag.test:4318"), &[all, traces], "http://flag.test:4318/v1/traces"),
            (Some("http://flag.test/x/"), &[], "http://flag.test/x/v1/traces"),
            (None, &[all, traces], "https://traces.test/in?tenant=a"),
            (None, &[all], "http://all.test:4318/otlp/v1/traces"),
        ];
        for (flag, set, expected) in table {
            assert_eq!(gathered(flag, set).settings.unwrap().endpoint.as_str(), expected);
        }
    }

    #[test]
    fn a_wrong_flag_is_an_error_and_a_wrong_variable_is_told_and_passed_over() {
        for wrong in ["", "collector:4318", "ftp://x", "grpc://x:4317", "http://user:canary@x"] {
            let error = TraceSettings::gather(Some(wrong), &TraceEnvironment::default()).unwrap_err().to_string();
            assert!(error.starts_with("--otlp-endpoint can't be used: it "), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let gathered = gathered(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")]);
        assert!(gathered.settings.is_none());
        assert!(gathered.warnings[0].starts_with("no traces are exported: OTEL_EXPORTER_OTLP_ENDPOINT can't be used"));
    }

    #[test]
    fn traces_are_switched_off_by_the_conventional_variables() {
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(gathered(Some("http://flag.test"), &[off]).settings.is_none(), "{off:?}");
        }
    }

    #[test]
    fn headers_are_decoded_the_more_particular_win_and_their_values_are_never_shown() {
        let gathered = gathered(
            Some("http://flag.test"),
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20canary, x-tenant = a ,broken,bad=%zz"),
                ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=b,x-split=a%0d%0ab"),
            ],
        );
        let settings = gathered.settings.unwrap();
        let headers: Vec<(&str, &str)> =
            settings.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(headers, [("authorization", "Basic canary"), ("x-tenant", "b")]);
        assert_eq!(
            gathered.warnings,
            [
                "OTEL_EXPORTER_OTLP_HEADERS: entry 3 is not of the form key=value and is passed over",
                "OTEL_EXPORTER_OTLP_HEADERS: entry 4 is not of the form key=value and is passed over",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS: a name or value that no HTTP header can have is passed over",
            ]
        );
        assert!(!format!("{settings:?}").contains("canary"));
    }

    #[test]
    fn the_service_is_named_by_its_own_variable_before_that_of_all_attributes() {
        let set = [
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment.name=prod%2Ceu"),
            ("OTEL_SERVICE_NAME", "gitops"),
        ];
        let resource = gathered(Some("http://flag.test"), &set).settings.unwrap().resource;
        assert_eq!(
            resource.into_iter().collect::<Vec<_>>(),
            [
                ("deployment.environment.name".to_owned(), "prod,eu".to_owned()),
                ("service.name".to_owned(), "gitops".to_owned()),
                ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ]
        );
    }

    #[test]
    fn samplers_are_those_of_the_specification_and_one_that_is_not_known_takes_all() {
        let table: [(Variables<'_>, TraceSampler, usize); 7] = [
            (&[], TraceSampler::All, 0),
            (&[("OTEL_TRACES_SAMPLER", "always_off")], TraceSampler::None, 0),
            (&[("OTEL_TRACES_SAMPLER", "parentbased_always_on")], TraceSampler::All, 0),
            (&[("OTEL_TRACES_SAMPLER", "traceidratio")], TraceSampler::Share(1.0), 0),
            (
                &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")],
                TraceSampler::Share(0.25),
                0,
            ),
            (&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "25")], TraceSampler::All, 1),
            (&[("OTEL_TRACES_SAMPLER", "jaeger_remote")], TraceSampler::All, 1),
        ];
        for (set, sampler, warnings) in table {
            let gathered = gathered(Some("http://flag.test"), set);
            assert_eq!(gathered.settings.unwrap().sampler, sampler, "{set:?}");
            assert_eq!(gathered.warnings.len(), warnings, "{set:?}");
        }
    }

    #[test]
    fn what_can_not_be_used_falls_back_and_is_told() {
        let set = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let gathered = gathered(Some("http://flag.test"), &set);
        let settings = gathered.settings.unwrap();
        assert_eq!((settings.timeout, settings.gzip, gathered.warnings.len()), (TIMEOUT, false, 3));
        let set = [("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
        let gathered = self::gathered(Some("http://flag.test"), &set);
        let settings = gathered.settings.unwrap();
        assert_eq!((settings.timeout, settings.gzip), (Duration::from_millis(2500), true));
        assert_eq!(gathered.warnings, Vec::<String>::new());
    }
}
