use super::*;

fn read(variables: &[(&str, &str)]) -> EnvironmentReading {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())));
    EnvironmentProxies::read(&variables.collect())
}

/// What the variables say about a destination, in a few words.
fn verdict(reading: &EnvironmentReading, protocol: Protocol, host: &str, port: u16) -> String {
    match reading.proxies.verdict(protocol, host, port) {
        Verdict::Silent => "silent".to_owned(),
        Verdict::Except { variable, pattern } => format!("except {variable} {pattern}"),
        Verdict::Through { variable, url } => format!("{variable} {:?} {url}", url.scheme),
        Verdict::Malformed { variable, problem } => format!("malformed {variable}: {problem}"),
    }
}

fn https(reading: &EnvironmentReading, host: &str) -> String {
    verdict(reading, Protocol::Https, host, 443)
}

#[test]
fn airgap_05_conflicting_variables_have_a_defined_winner_and_one_warning() {
    let reading = read(&[
        ("HTTPS_PROXY", "http://upper.test:1"),
        ("https_proxy", "http://lower.test:2"),
        ("NO_PROXY", "a.test"),
        ("no_proxy", "b.test"),
        ("HTTP_PROXY", "http://same.test:3"),
        ("http_proxy", "http://same.test:3"),
    ]);
    assert_eq!(https(&reading, "x.test"), "https_proxy Http lower.test:2");
    assert_eq!(https(&reading, "a.test"), "https_proxy Http lower.test:2");
    assert_eq!(https(&reading, "b.test"), "except no_proxy b.test");
    assert_eq!(verdict(&reading, Protocol::Http, "x.test", 80), "http_proxy Http same.test:3");
    assert_eq!(
        reading.warnings,
        [
            "the variables https_proxy and HTTPS_PROXY differ; https_proxy counts. Unset one of them, since other programs take \
             the other",
            "the variables no_proxy and NO_PROXY differ; no_proxy counts. Unset one of them, since other programs take the \
             other"
        ]
    );
    let one = read(&[("https_proxy", " "), ("HTTPS_PROXY", "http://upper.test:1")]);
    assert_eq!((https(&one, "x.test"), one.warnings), ("HTTPS_PROXY Http upper.test:1".to_owned(), Vec::new()));
}

#[test]
fn each_protocol_has_its_variable_and_all_proxy_is_for_the_rest() {
    let all = read(&[("ALL_PROXY", "socks5h://s.test"), ("https_proxy", "p.test:3128")]);
    assert_eq!(verdict(&all, Protocol::Http, "x.test", 80), "ALL_PROXY Socks5h s.test:1080");
    assert_eq!(https(&all, "x.test"), "https_proxy Http p.test:3128");
    assert_eq!(verdict(&all, Protocol::Tcp, "x.test", 22), "ALL_PROXY Socks5h s.test:1080");
    let one = read(&[("https_proxy", "https://p.test/")]);
    assert_eq!(verdict(&one, Protocol::Http, "x.test", 80), "silent");
    assert_eq!(verdict(&one, Protocol::Tcp, "x.test", 22), "https_proxy Https p.test:443");
    assert_eq!(https(&read(&[("no_proxy", "*")]), "x.test"), "silent");
}

#[test]
fn the_exceptions_are_read_in_every_form_that_programs_know() {
    let table = [
        ("corp.test", "git.corp.test", true),
        ("corp.test", "corp.test", true),
        ("corp.test", "xcorp.test", false),
        (".corp.test", "git.corp.test", true),
        (".corp.test", "corp.test", false),
        ("*.corp.test", "git.corp.test", true),
        ("x, git.corp.test", "git.corp.test", true),
        ("x git.corp.test", "git.corp.test", true),
        (" , ,git.corp.test,", "git.corp.test", true),
        ("GIT.CORP.TEST", "git.corp.test", true),
        ("git.corp.test.", "git.corp.test", true),
        ("git.corp.test:443", "git.corp.test", true),
        ("git.corp.test:80", "git.corp.test", false),
        (".corp.test:443", "git.corp.test", true),
        ("10.88.0.0/16", "10.88.0.2", true),
        ("10.88.0.0/16", "10.89.0.2", false),
        ("10.88.0.2", "10.88.0.2", true),
        ("10.88.0.2:443", "10.88.0.2", true),
        ("[fd00::1]", "fd00::1", true),
        ("fd00::1", "fd00::1", true),
        ("[fd00::1]:443", "fd00::1", true),
        ("[fd00::1]:80", "fd00::1", false),
        ("fd00::/8", "fd00::1", true),
        ("[fd00::]/8", "fd00::1", true),
        ("*", "anything.test", true),
    ];
    for (list, host, expected) in table {
        let reading = read(&[("https_proxy", "p.test:1"), ("no_proxy", list)]);
        let answer = https(&reading, host);
        assert_eq!(answer.starts_with("except no_proxy"), expected, "{list} on {host}: {answer}");
        assert_eq!(reading.warnings, Vec::<String>::new(), "{list}");
    }
}

#[test]
fn an_exception_that_cannot_be_read_is_passed_over_with_a_warning() {
    let reading = read(&[("https_proxy", "p.test:1"), ("NO_PROXY", "a.test,10.0.0.0/33,http://canary@b,c.test")]);
    assert_eq!(https(&reading, "c.test"), "except NO_PROXY c.test");
    assert_eq!(
        reading.warnings,
        [
            "entry 2 of the variable NO_PROXY is passed over: the prefix length is too great",
            "entry 3 of the variable NO_PROXY is passed over: it has a scheme"
        ]
    );
}

#[test]
fn airgap_07_credentials_in_a_variable_are_decoded_and_kept_apart() {
    let reading = read(&[("HTTPS_PROXY", "http://us%20er:s3cr%40t%3A%2F%23%25%C3%A9:x@[fd00::1]:3128/")]);
    assert_eq!(https(&reading, "x.test"), "HTTPS_PROXY Http [fd00::1]:3128");
    let access = reading.access.get("environment:HTTPS_PROXY").unwrap();
    let header = access.credentials.as_ref().unwrap().header();
    let expected = BasicCredentials::new("us er".into(), "s3cr@t:/#%é:x".into()).unwrap().header();
    assert_eq!(header.as_bytes(), expected.as_bytes());
    assert!(!format!("{:?}", reading.proxies).contains("s3cr"));
    for plain in ["http://p.test:3128", "http://@p.test:3128", "p.test:3128", "P.TEST.:3128", " http://p.test:3128 "] {
        let reading = read(&[("https_proxy", plain)]);
        assert_eq!(https(&reading, "x.test"), "https_proxy Http p.test:3128", "{plain}");
        assert!(reading.access.is_empty() && reading.warnings.is_empty(), "{plain}");
    }
}

#[test]
fn airgap_08_a_malformed_proxy_value_is_named_without_being_shown() {
    for value in [
        "http://u:canary/b@h:1",
        "http://u:canary@b@h:1",
        "http://u:can ary@h:1",
        "http://u:canary%zz@h:1",
        "http://u:canary%2@h:1",
        "http://u:canary%ff@h:1",
        "http://u:canary%0a@h:1",
        "http://u%3Acanary:x@h:1",
        "http://u:canary@h:port",
        "http://u:canary@h:0",
        "http://u:canary@h:+1",
        "http://u:canary@h:65536",
        "http://u:canary@h:",
        "http://u:canary@:1",
        "http://u:canary@",
        "http://u:canary@[fd00::1:1",
        "http://u:canary@[fd00::1]1",
        "http://u:canary@[canary]:1",
        "http://u:canary@fd00::1:1",
        "http://u:canary@h:1/path",
        "http://u:canary@h:1?x",
        "http://u:canary@h%2e:1",
        "http://u:canary@a..b:1",
        "ftp://u:canary@h:1",
        "socks4://u:canary@h:1",
        "://h:1",
        "http://",
        "http://canary\u{fffd}@h:1",
    ] {
        let reading = read(&[("HTTPS_PROXY", value), ("NO_PROXY", "except.test")]);
        let answer = https(&reading, "x.test");
        assert!(answer.starts_with("malformed HTTPS_PROXY: "), "{value}: {answer}");
        assert_eq!(https(&reading, "except.test"), "except NO_PROXY except.test");
        assert_eq!(verdict(&reading, Protocol::Http, "x.test", 80), "silent");
        let [warning] = reading.warnings.as_slice() else { panic!("{value}: {:?}", reading.warnings) };
        assert!(
            warning.starts_with("the variable HTTPS_PROXY can't be used: ") && !warning.contains("canary"),
            "{warning}"
        );
        assert!(reading.access.is_empty());
    }
}
