//! Who goes which way: one table, asked through every door by which the program leaves.

use std::collections::BTreeMap;

use ::http::Uri;
use secrecy::SecretString;
use url::Url;

use super::*;

const CORPORATE: &str = "proxy:corporate";
const PARTNER: &str = "proxy:partner";
const VARIABLE: &str = "proxy:environment:ALL_PROXY";
const DIRECT: &str = "direct";
const NONE: &str = "none";

/// URL, route, rule.
type Case = (&'static str, &'static str, &'static str);

fn patterns(texts: &[&str]) -> Vec<HostPattern> {
    texts.iter().map(|text| HostPattern::parse(text).unwrap()).collect()
}

fn proxy(name: &str, hosts: &[&str], direct: &[&str], default: bool) -> ProxyRule {
    let url = ProxyUrl::parse("http://proxy.corp.test:3128").unwrap();
    ProxyRule { name: name.to_owned(), url, hosts: patterns(hosts), direct: patterns(direct), default }
}

fn rule(hosts: &[&str], ports: &[u16], action: Action) -> PolicyRule {
    PolicyRule { hosts: patterns(hosts), ports: ports.to_vec(), action }
}

fn environment(list: &str) -> EnvironmentProxies {
    let variables = [("ALL_PROXY", "http://user:pw@env.corp.test:3128"), ("no_proxy", list)];
    let variables = variables.map(|(name, value)| (name.to_owned(), SecretString::from(value)));
    EnvironmentProxies::read(&BTreeMap::from(variables)).proxies
}

/// An estate with two proxies, one of them the default, and a policy.
fn estate() -> EgressRules {
    EgressRules {
        proxies: vec![
            proxy("corporate", &["*.corp.test", "codecommit.eu-west-1.amazonaws.com"], &["git.corp.test:8443"], true),
            proxy("partner", &["partner.test", "*.partner.test:443", "198.51.100.0/24"], &[], false),
        ],
        cluster_api_hosts: vec![
            "ABCD.gr7.eu-west-1.eks.amazonaws.com.".to_owned(),
            "172.20.0.1".to_owned(),
            "[fd00::1]".to_owned(),
        ],
        policy: Policy {
            direct: patterns(&["10.0.0.0/16", "fd12::/16", ".internal.test"]),
            rules: vec![
                rule(&["*.blocked.test"], &[], Action::Deny),
                rule(&["sts.eu-central-1.amazonaws.com"], &[], Action::Proxy("corporate".to_owned())),
                rule(&["mixed.test"], &[443], Action::Proxy("partner".to_owned())),
                rule(&["mixed.test"], &[], Action::Direct),
                rule(&["a.ghost.test"], &[], Action::Proxy("ghost".to_owned())),
            ],
            ..Policy::default()
        },
        environment: None,
    }
}

/// Variables alone, and no way for what they don't carry.
fn variables() -> EgressRules {
    EgressRules {
        policy: Policy { otherwise: Otherwise::Deny, ..Policy::default() },
        environment: Some(environment(
            "corp.test, .suffix.test *.star.test,UPPER.test,dot.test.,port.test:8443,192.0.2.0/24,[2001:db8::]/32,203.0.113.9",
        )),
        ..EgressRules::default()
    }
}

/// No proxy for anything, and what nothing names is refused.
fn closed() -> EgressRules {
    EgressRules {
        proxies: vec![proxy("corporate", &["*.corp.test"], &[], false)],
        policy: Policy { aws_direct: false, otherwise: Otherwise::Deny, ..Policy::default() },
        ..EgressRules::default()
    }
}

/// The four doors: the client of git, that of charts and registries, raw connections, and the Kubernetes client's connector.
fn doors(egress: &Egress, url: &Url) -> [(&'static str, String, String); 4] {
    let told = |door, place: Result<Place, EgressError>| match place {
        Ok(Place { decision, .. }) => (door, decision.route.label(), decision.rule),
        Err(error) => (door, error.route_label(), error.rule),
    };
    let git = HttpClient::new(egress.clone(), HttpConfig::default());
    let credentials = BasicCredentials::new("me".into(), "pw".into()).unwrap();
    let registry = HttpClient::new(
        egress.clone(),
        HttpConfig {
            authorization: Some(credentials.into()),
            timeouts: Timeouts { total: None, ..Timeouts::default() },
            ..HttpConfig::default()
        },
    );
    let uri: Uri = url.as_str().parse().unwrap();
    let raw = Destination::tcp(url.host_str().unwrap(), url.port_or_known_default().unwrap());
    [
        ("git", git.place(url, true)),
        ("charts", registry.place(url, true)),
        ("tcp", egress.place(&raw, &Override::None)),
        ("kube", egress.place(&UriConnector::destination(&uri).unwrap(), &Override::None)),
    ]
    .map(|(door, place)| told(door, place))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one table")]
fn airgap_04_a_table_of_bypass_cases_gives_one_answer_for_git_helm_oci_and_kube_clients() {
    let loopback = "built-in: loopback goes direct";
    let link_local = "built-in: a link-local address goes direct";
    let own_api = "built-in: the cluster's own API goes direct";
    let aws = "API hosts of AWS go direct";
    let denied = "the EgressPolicy's default is Deny and nothing names this host";
    let in_estate = [
        ("http://localhost:8080/", DIRECT, loopback),
        ("http://app.localhost/", DIRECT, loopback),
        ("https://127.0.0.1/", DIRECT, loopback),
        ("https://127.1.2.3:8443/", DIRECT, loopback),
        ("http://2130706433/", DIRECT, loopback),
        ("http://0x7f.1/", DIRECT, loopback),
        ("https://[::1]/", DIRECT, loopback),
        ("https://[::ffff:127.0.0.1]/", DIRECT, loopback),
        ("http://169.254.169.254/latest/meta-data", DIRECT, link_local),
        ("http://169.254.170.23/v1/credentials", DIRECT, link_local),
        ("http://169.254.170.2/v2/credentials", DIRECT, link_local),
        ("http://[fd00:ec2::23]/v1/credentials", DIRECT, link_local),
        ("http://[fd00:ec2::254]/latest", DIRECT, link_local),
        ("https://[fe80::1]/", DIRECT, link_local),
        ("https://172.20.0.1/", DIRECT, own_api),
        ("https://[fd00::1]/", DIRECT, own_api),
        ("https://abcd.GR7.eu-west-1.eks.amazonaws.com/", DIRECT, own_api),
        ("https://abcd.gr7.eu-west-1.eks.amazonaws.com./", DIRECT, own_api),
        ("https://git.apps.svc/x", DIRECT, "built-in: .svc goes direct"),
        ("https://git.apps.svc./x", DIRECT, "built-in: .svc goes direct"),
        ("https://git.apps.svc.cluster.local/x", DIRECT, "built-in: .cluster.local goes direct"),
        ("https://GIT.apps.svc.Cluster.Local./x", DIRECT, "built-in: .cluster.local goes direct"),
        ("https://10.0.200.7/", DIRECT, "the EgressPolicy lists 10.0.0.0/16 as direct"),
        ("https://[::ffff:10.0.200.7]/", DIRECT, "the EgressPolicy lists 10.0.0.0/16 as direct"),
        ("https://[fd12::7]/", DIRECT, "the EgressPolicy lists fd12::/16 as direct"),
        ("https://git.internal.test/", DIRECT, "the EgressPolicy lists .internal.test as direct"),
        ("https://10.1.0.7/", CORPORATE, "proxy corporate is the default"),
        ("https://x.blocked.test/", NONE, "rules[0] of the EgressPolicy, *.blocked.test"),
        ("https://blocked.test/", CORPORATE, "proxy corporate is the default"),
        (
            "https://sts.eu-central-1.amazonaws.com/",
            CORPORATE,
            "rules[1] of the EgressPolicy, sts.eu-central-1.amazonaws.com",
        ),
        ("https://mixed.test/", PARTNER, "rules[2] of the EgressPolicy, mixed.test"),
        ("https://mixed.test:8443/", DIRECT, "rules[3] of the EgressPolicy, mixed.test"),
        ("http://mixed.test/", DIRECT, "rules[3] of the EgressPolicy, mixed.test"),
        ("https://a.ghost.test/", NONE, "rules[4] of the EgressPolicy"),
        ("https://git.corp.test/", CORPORATE, "proxy corporate serves *.corp.test"),
        ("https://GIT.CORP.TEST./", CORPORATE, "proxy corporate serves *.corp.test"),
        ("https://git.corp.test:8443/", DIRECT, "proxy corporate lists git.corp.test:8443 as direct"),
        ("https://corp.test/", CORPORATE, "proxy corporate is the default"),
        ("https://partner.test/", PARTNER, "proxy partner serves partner.test"),
        ("https://a.partner.test/", PARTNER, "proxy partner serves *.partner.test:443"),
        ("https://a.partner.test:8443/", CORPORATE, "proxy corporate is the default"),
        ("https://198.51.100.7/", PARTNER, "proxy partner serves 198.51.100.0/24"),
        ("https://github.com/x", CORPORATE, "proxy corporate is the default"),
        ("https://xsvc/x", CORPORATE, "proxy corporate is the default"),
        ("https://notcluster.local/x", CORPORATE, "proxy corporate is the default"),
        ("https://localhost.evil.test/", CORPORATE, "proxy corporate is the default"),
        ("https://127.0.0.1.evil.test/", CORPORATE, "proxy corporate is the default"),
        (
            "https://codecommit.eu-west-1.amazonaws.com/",
            CORPORATE,
            "proxy corporate serves codecommit.eu-west-1.amazonaws.com",
        ),
        ("https://sts.eu-west-1.amazonaws.com/", DIRECT, aws),
        ("https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/v2/", DIRECT, aws),
        ("https://prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com/x", DIRECT, aws),
        ("https://EFGH.gr7.eu-west-1.eks.amazonaws.com/", DIRECT, aws),
        ("https://sts.cn-north-1.amazonaws.com.cn/", DIRECT, aws),
        ("https://eks.us-gov-west-1.api.aws/", DIRECT, aws),
        ("https://d111111abcdef8.cloudfront.net/", CORPORATE, "proxy corporate is the default"),
        ("https://git-1.eu-west-1.elb.amazonaws.com/", CORPORATE, "proxy corporate is the default"),
    ];
    let with_variables = [
        ("https://git.apps.svc/x", DIRECT, "built-in: .svc goes direct"),
        ("http://169.254.170.23/v1/credentials", DIRECT, link_local),
        ("https://sts.eu-west-1.amazonaws.com/", DIRECT, aws),
        ("https://corp.test/", DIRECT, "the variable no_proxy lists corp.test"),
        ("https://git.corp.test/", DIRECT, "the variable no_proxy lists corp.test"),
        ("https://git.corp.test./", DIRECT, "the variable no_proxy lists corp.test"),
        ("https://xcorp.test/", VARIABLE, "the variable ALL_PROXY"),
        ("https://a.suffix.test/", DIRECT, "the variable no_proxy lists .suffix.test"),
        ("https://suffix.test/", VARIABLE, "the variable ALL_PROXY"),
        ("https://a.star.test/", DIRECT, "the variable no_proxy lists *.star.test"),
        ("https://upper.test/", DIRECT, "the variable no_proxy lists UPPER.test"),
        ("https://dot.test/", DIRECT, "the variable no_proxy lists dot.test."),
        ("https://port.test:8443/", DIRECT, "the variable no_proxy lists port.test:8443"),
        ("https://port.test/", VARIABLE, "the variable ALL_PROXY"),
        ("https://192.0.2.7/", DIRECT, "the variable no_proxy lists 192.0.2.0/24"),
        ("https://[2001:db8::7]/", DIRECT, "the variable no_proxy lists 2001:db8::/32"),
        ("https://203.0.113.9:8443/", DIRECT, "the variable no_proxy lists 203.0.113.9"),
        ("https://203.0.113.8/", VARIABLE, "the variable ALL_PROXY"),
        ("http://github.com/", VARIABLE, "the variable ALL_PROXY"),
    ];
    let when_closed = [
        ("https://git.corp.test/", CORPORATE, "proxy corporate serves *.corp.test"),
        ("https://github.com/", NONE, denied),
        ("http://192.0.2.7:8080/", NONE, denied),
        ("https://sts.eu-west-1.amazonaws.com/", NONE, denied),
        ("https://kubernetes.default.svc/", DIRECT, "built-in: .svc goes direct"),
    ];
    let tables: [(EgressRules, &[Case]); 3] =
        [(estate(), &in_estate), (variables(), &with_variables), (closed(), &when_closed)];
    for (rules, table) in tables {
        let egress = Egress::new(rules, BTreeMap::new(), SystemRoots::none());
        for (url, route, rule) in table {
            for (door, found_route, found_rule) in doors(&egress, &Url::parse(url).unwrap()) {
                assert_eq!((found_route.as_str(), found_rule.as_str()), (*route, *rule), "{url} by {door}");
            }
        }
    }
}

#[test]
fn airgap_06_the_route_that_an_object_names_beats_every_rule_but_the_built_in_ones() {
    let mut rules = estate();
    rules.environment = Some(environment(""));
    let way = |url: &str, chosen: &Override| {
        let decision = rules.decide(&Url::parse(url).unwrap(), chosen).unwrap();
        format!("{}: {}", decision.route.label(), decision.rule)
    };
    let partner = Override::Proxy("partner".to_owned());
    for url in [
        "https://github.com/",
        "https://git.corp.test/",
        "https://x.blocked.test/",
        "https://sts.eu-west-1.amazonaws.com/",
    ] {
        assert_eq!(way(url, &Override::Direct), "direct: the object says direct", "{url}");
        assert_eq!(way(url, &partner), "proxy:partner: the object names proxy partner", "{url}");
    }
    assert_eq!(way("https://git.apps.svc/x", &partner), "direct: built-in: .svc goes direct");
    assert_eq!(way("https://10.0.0.9/x", &partner), "direct: the EgressPolicy lists 10.0.0.0/16 as direct");
}

#[test]
fn airgap_33_aws_api_hosts_go_direct_unless_a_rule_a_list_or_the_switch_says_otherwise() {
    let way = |rules: &EgressRules, url: &str| {
        rules.decide(&Url::parse(url).unwrap(), &Override::None).unwrap().route.label()
    };
    let mut rules = EgressRules {
        proxies: vec![proxy("corporate", &[], &[], true)],
        environment: Some(environment("")),
        ..EgressRules::default()
    };
    let (api, blob) = ("https://api.ecr.eu-west-1.amazonaws.com/", "https://prod-layers.s3.eu-west-1.amazonaws.com/");
    assert_eq!([way(&rules, api), way(&rules, blob)], [DIRECT, DIRECT]);
    rules.policy.rules = vec![rule(&["api.ecr.eu-west-1.amazonaws.com"], &[], Action::Proxy("corporate".to_owned()))];
    assert_eq!([way(&rules, api), way(&rules, blob)], [CORPORATE, DIRECT]);
    rules.policy.rules.clear();
    rules.proxies[0].hosts = patterns(&["*.s3.eu-west-1.amazonaws.com"]);
    assert_eq!([way(&rules, api), way(&rules, blob)], [DIRECT, CORPORATE]);
    rules.proxies[0].hosts.clear();
    rules.policy.aws_direct = false;
    assert_eq!([way(&rules, api), way(&rules, blob)], [VARIABLE, VARIABLE]);
    rules.environment = None;
    assert_eq!([way(&rules, api), way(&rules, blob)], [CORPORATE, CORPORATE]);
}

#[test]
fn airgap_02_with_a_proxy_variable_and_no_exceptions_nothing_of_the_cluster_goes_to_the_proxy() {
    let rules = EgressRules {
        cluster_api_hosts: vec!["10.100.0.1".to_owned(), "kubernetes.default".to_owned()],
        environment: Some(environment("")),
        ..EgressRules::default()
    };
    for url in [
        "https://10.100.0.1/",
        "https://kubernetes.default/",
        "https://kubernetes.default.svc/",
        "https://kubernetes.default.svc.cluster.local./",
        "http://git.apps.svc.cluster.local/",
        "http://localhost:8080/",
        "http://[::1]:8080/",
    ] {
        let decision = rules.decide(&Url::parse(url).unwrap(), &Override::None).unwrap();
        assert_eq!(decision.route, Route::Direct, "{url}");
    }
    assert_eq!(rules.decide(&Url::parse("https://x.test").unwrap(), &Override::None).unwrap().route.label(), VARIABLE);
}

#[test]
fn airgap_03_link_local_credential_addresses_are_never_proxied() {
    let rules = EgressRules {
        proxies: vec![proxy("corporate", &["*", "169.254.0.0/16", "fd00::/8"], &[], true)],
        policy: Policy {
            rules: vec![rule(&["*"], &[], Action::Proxy("corporate".to_owned()))],
            otherwise: Otherwise::Deny,
            ..Policy::default()
        },
        environment: Some(environment("")),
        ..EgressRules::default()
    };
    for url in [
        "http://169.254.170.23/v1/credentials",
        "http://169.254.170.2/v2/credentials",
        "http://169.254.169.254/",
        "http://[fd00:ec2::23]/v1/credentials",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.170.23]/",
    ] {
        for chosen in [Override::None, Override::Proxy("corporate".to_owned())] {
            assert_eq!(rules.decide(&Url::parse(url).unwrap(), &chosen).unwrap().route, Route::Direct, "{url}");
        }
    }
}
