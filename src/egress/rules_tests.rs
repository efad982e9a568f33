use super::*;
use crate::egress::ProxyUrlError;

fn proxy(name: &str, hosts: &[&str], direct: &[&str], default: bool) -> ProxyRule {
    let patterns = |texts: &[&str]| texts.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
    ProxyRule {
        name: name.to_owned(),
        url: ProxyUrl { scheme: ProxyScheme::Http, host: "10.0.0.1".to_owned(), port: 3128 },
        hosts: patterns(hosts),
        direct: patterns(direct),
        default,
    }
}

fn rules() -> EgressRules {
    EgressRules {
        proxies: vec![
            proxy("corporate", &["*.corp.test", "*"], &["10.0.0.0/8", ".aws.test"], true),
            proxy("partner", &["git.corp.test", "*.partner.test", "10.9.0.0/16"], &[], false),
        ],
        cluster_api_hosts: vec!["ABC.gr7.eu-west-1.eks.amazonaws.com.".to_owned(), "172.20.0.1".to_owned()],
        ..EgressRules::default()
    }
}

fn way(url: &str, chosen: &Override) -> String {
    let decision = rules().decide(&Url::parse(url).unwrap(), chosen).unwrap();
    match decision.route {
        Route::Direct => format!("direct: {}", decision.rule),
        Route::Connect { name, .. } => format!("connect {name}: {}", decision.rule),
        Route::Socks5 { name, .. } => format!("socks {name}: {}", decision.rule),
        Route::HttpForward { name, .. } => format!("forward {name}: {}", decision.rule),
    }
}

#[test]
fn the_first_matching_rule_decides_and_is_named() {
    let table = [
        ("http://localhost:8080/", "direct: built-in: loopback goes direct"),
        ("http://a.localhost/", "direct: built-in: loopback goes direct"),
        ("http://127.0.0.1/", "direct: built-in: loopback goes direct"),
        ("http://127.8.8.8/", "direct: built-in: loopback goes direct"),
        ("http://[::1]/", "direct: built-in: loopback goes direct"),
        ("http://169.254.169.254/latest", "direct: built-in: a link-local address goes direct"),
        ("http://169.254.170.23/v1/credentials", "direct: built-in: a link-local address goes direct"),
        ("http://[fd00:ec2::23]/v1/credentials", "direct: built-in: a link-local address goes direct"),
        ("http://[fe80::1]/", "direct: built-in: a link-local address goes direct"),
        ("https://git.apps.svc/x", "direct: built-in: .svc goes direct"),
        ("https://git.apps.svc.cluster.local/x", "direct: built-in: .cluster.local goes direct"),
        ("https://GIT.apps.svc.cluster.local./x", "direct: built-in: .cluster.local goes direct"),
        ("https://abc.GR7.eu-west-1.eks.amazonaws.com/", "direct: built-in: the cluster's own API goes direct"),
        ("https://172.20.0.1/", "direct: built-in: the cluster's own API goes direct"),
        ("https://s3.aws.test/", "direct: proxy corporate lists .aws.test as direct"),
        ("https://10.9.0.1/", "direct: proxy corporate lists 10.0.0.0/8 as direct"),
        ("https://git.corp.test/x", "connect partner: proxy partner serves git.corp.test"),
        ("https://other.corp.test/x", "connect corporate: proxy corporate serves *.corp.test"),
        ("https://a.partner.test/x", "connect partner: proxy partner serves *.partner.test"),
        ("http://a.partner.test/x", "forward partner: proxy partner serves *.partner.test"),
        ("https://github.test/x", "connect corporate: proxy corporate serves *"),
        ("https://xsvc/x", "connect corporate: proxy corporate serves *"),
        ("https://notcluster.local/x", "connect corporate: proxy corporate serves *"),
    ];
    for (url, expected) in table {
        assert_eq!(way(url, &Override::None), expected, "{url}");
    }
}

#[test]
fn an_override_beats_every_rule_but_the_built_in_ones() {
    let partner = Override::Proxy("partner".to_owned());
    assert_eq!(way("https://github.test/x", &Override::Direct), "direct: the object says direct");
    assert_eq!(way("https://s3.aws.test/x", &partner), "connect partner: the object names proxy partner");
    assert_eq!(way("http://github.test/x", &partner), "forward partner: the object names proxy partner");
    assert_eq!(way("https://git.apps.svc/x", &partner), "direct: built-in: .svc goes direct");
    let missing = rules().decide(&Url::parse("https://x.test/").unwrap(), &Override::Proxy("gone".to_owned()));
    assert_eq!(missing, Err(RuleError::UnknownProxy("gone".to_owned())));
}

#[test]
fn without_a_proxy_that_serves_a_host_it_goes_direct() {
    let only = EgressRules { proxies: vec![proxy("a", &["x.test"], &[], false)], ..EgressRules::default() };
    let decision = only.decide(&Url::parse("https://y.test/").unwrap(), &Override::None).unwrap();
    assert_eq!(decision.route, Route::Direct);
}

#[test]
fn the_order_of_proxies_does_not_matter() {
    let first = EgressRules {
        proxies: vec![proxy("b", &["*.x.test"], &[], true), proxy("a", &["*.x.test"], &[], true)],
        ..EgressRules::default()
    };
    let mut second = first.clone();
    second.proxies.reverse();
    for url in ["https://g.x.test/", "https://other.test/"] {
        let url = Url::parse(url).unwrap();
        let decision = first.decide(&url, &Override::None).unwrap();
        assert_eq!(decision.route.proxy(), Some("a"));
        assert_eq!(decision, second.decide(&url, &Override::None).unwrap());
    }
}

#[test]
fn a_target_that_is_not_http_has_no_route() {
    for url in ["ssh://git@x.test/y", "file:///etc/passwd", "data:text/plain,x"] {
        assert!(matches!(rules().decide(&Url::parse(url).unwrap(), &Override::None), Err(RuleError::NotHttp(_))));
    }
}

#[test]
fn proxy_urls_are_read_strictly_and_never_repeated() {
    let http = |host: &str, port| ProxyUrl { scheme: ProxyScheme::Http, host: host.to_owned(), port };
    assert_eq!(ProxyUrl::parse("http://proxy.corp.test:3129"), Ok(http("proxy.corp.test", 3129)));
    assert_eq!(ProxyUrl::parse("http://PROXY.corp.test:80/"), Ok(http("proxy.corp.test", 80)));
    assert_eq!(ProxyUrl::parse("http://proxy"), Ok(http("proxy", 3128)));
    assert_eq!(ProxyUrl::parse("http://[fd00::1]:3128").unwrap().to_string(), "[fd00::1]:3128");
    assert!(ProxyUrl::parse("https://proxy").is_ok_and(|url| url.scheme == ProxyScheme::Https && url.port == 443));
    assert_eq!(ProxyUrl::parse("http://user:canary@proxy:1"), Err(ProxyUrlError::HoldsCredentials));
    assert_eq!(ProxyUrl::parse("http://u:canary/b@h:1"), Err(ProxyUrlError::HoldsCredentials));
    assert!(ProxyUrl::parse("socks5h://proxy").is_ok_and(|url| url.scheme == ProxyScheme::Socks5h && url.port == 1080));
    assert_eq!(ProxyUrl::parse("socks5://proxy:1"), Err(ProxyUrlError::Scheme("socks5".to_owned())));
    assert_eq!(ProxyUrl::parse("http://proxy:1/path"), Err(ProxyUrlError::HasPath));
    assert!(matches!(ProxyUrl::parse("proxy"), Err(ProxyUrlError::Unreadable(_))));
    assert!(matches!(ProxyUrl::parse("http://a b:1"), Err(ProxyUrlError::Unreadable(_))));
}
