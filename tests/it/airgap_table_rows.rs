//! The rows of the table: a way to be refused or cut off, and what must be said of it.

use serde_json::json;

use crate::support::misbehaving;
use crate::support::reach::{CLIENT_CERTIFICATE, PROXY_TLS_CA, Way};
use crate::support::testbed::Testbed;

/// How often a proxy may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// Once in the poll interval: only a change can help.
    Once,
    /// With growing pauses: it may pass.
    BackingOff,
    /// Not looked at: several rows share the mode, or a failure takes several connections.
    Unknown,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the case and of its objects.
    pub name: &'static str,
    /// The way that is taken.
    pub way: Way,
    /// Mode of the misbehaving proxy, where its log is a witness.
    pub mode: Option<String>,
    /// Fault of the git server.
    pub fault: Option<&'static str>,
    /// What every line of the proxy's log must be about.
    pub host: String,
    /// Whether the proxy's login is configured.
    pub with_login: bool,
    /// Acceptable reasons; none when it must work.
    pub reasons: Vec<&'static str>,
    /// What the message must hold.
    pub says: Vec<String>,
    /// How often the proxy may be asked.
    pub attempts: Attempts,
}

impl Row {
    /// Must fail for one of these reasons (separated by `|`), with these words.
    fn fails(&mut self, reasons: &'static str, says: &[&str]) -> &mut Self {
        self.reasons = reasons.split('|').collect();
        self.says.extend(says.iter().map(|word| (*word).to_owned()));
        self
    }

    fn once(&mut self) -> &mut Self {
        self.attempts = Attempts::Once;
        self
    }

    fn backing_off(&mut self) -> &mut Self {
        self.attempts = Attempts::BackingOff;
        self
    }

    fn with(&mut self, change: impl FnOnce(Way) -> Way) -> &mut Self {
        self.way = change(self.way.clone());
        self
    }

    fn without_login(&mut self) -> &mut Self {
        self.with_login = false;
        self.with(Way::without_proxy_login)
    }
}

struct Table {
    namespace: String,
    rows: Vec<Row>,
}

impl Table {
    fn row(&mut self, name: &'static str, way: Way, mode: Option<&str>, host: &str) -> &mut Row {
        self.rows.push(Row {
            name,
            way,
            mode: mode.map(str::to_owned),
            fault: None,
            host: host.to_owned(),
            with_login: mode.is_some(),
            reasons: Vec::new(),
            says: Vec::new(),
            attempts: Attempts::Unknown,
        });
        self.rows.last_mut().expect("just pushed")
    }

    fn path(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// TLS through a mode of the misbehaving proxy.
    fn mode(&mut self, name: &'static str, mode: &str) -> &mut Row {
        let url = Testbed::shared().git_url(&self.path(name));
        let way = Way::by(name, &misbehaving::url(mode), &url);
        let way =
            if mode.starts_with("tls") { way.set_proxy("caSecretRef", json!({"name": PROXY_TLS_CA})) } else { way };
        self.row(name, way, Some(mode), Testbed::shared().git_host())
    }

    /// Clear text through a mode of the misbehaving proxy.
    fn plain(&mut self, name: &'static str, mode: &str) -> &mut Row {
        let bed = Testbed::shared();
        let url = bed.git_url(&self.path(name)).replace(&bed.git_https_url, &bed.git_http_url);
        let way = Way::by(name, &misbehaving::url(mode), &url).unset("caSecretRef");
        self.row(name, way, Some(mode), Testbed::shared().git_host())
    }

    /// By another proxy.
    fn proxy(&mut self, name: &'static str, proxy: &str) -> &mut Row {
        let url = Testbed::shared().git_url(&self.path(name));
        self.row(name, Way::by(name, proxy, &url), None, "")
    }

    /// Without a proxy.
    fn direct(&mut self, name: &'static str, host: &str) -> &mut Row {
        let url = format!("https://{host}/{}.git", self.path(name));
        self.row(name, Way::direct(name, &url), None, "")
    }

    /// By a good proxy to a git server with a fault.
    fn server(&mut self, name: &'static str, fault: &'static str) -> &mut Row {
        let url = Testbed::shared().git_url(&self.path(name));
        let row = self.row(name, Way::by(name, &misbehaving::url("tunnel"), &url), None, "");
        row.fault = Some(fault);
        row
    }

    /// By a good proxy to a place at nginx.
    fn nginx(&mut self, name: &'static str, scheme: &str, place: &str) -> &mut Row {
        let url = format!("{scheme}://{}/{place}/{}.git", Testbed::shared().nginx_host, self.path(name));
        self.row(name, Way::by(name, &misbehaving::url("tunnel"), &url), None, "")
    }
}

/// All rows, for repositories named `<namespace>-<row>`.
pub fn rows(namespace: &str) -> Vec<Row> {
    let mut table = Table { namespace: namespace.to_owned(), rows: Vec::new() };
    logins(&mut table);
    refusals(&mut table);
    answers_to_connect(&mut table);
    silences(&mut table);
    inside_the_tunnel(&mut table);
    clear_text(&mut table);
    tls_to_the_proxy(&mut table);
    socks(&mut table);
    routes(&mut table);
    servers(&mut table);
    table.rows
}

fn logins(table: &mut Table) {
    const AUTH: &str = "ProxyAuthRequired";
    table.mode("auth-none", "auth:none").fails(AUTH, &["407", "no scheme"]).once();
    table.mode("auth-basic", "auth:basic").fails(AUTH, &["407", "Basic", "credentialsSecretRef"]).once();
    table.mode("auth-joined", "auth:joined").fails(AUTH, &["407", "Negotiate, Basic"]).once();
    table.mode("auth-repeated", "auth:repeated").fails(AUTH, &["407", "Negotiate, NTLM, Basic"]).once();
    table.mode("auth-ntlm", "auth:ntlm").fails(AUTH, &["407", "NTLM"]).once();
    table.mode("auth-negotiate", "auth:negotiate").fails(AUTH, &["407", "Negotiate"]).once();
    table.mode("auth-duplicate", "auth:duplicate").fails(AUTH, &["407", "Basic"]).once();
    table.mode("auth-digest", "auth:digest").fails(AUTH, &["407", "Digest"]).once();
    table.mode("auth-open", "auth:open").fails(AUTH, &["407", "Basic"]).once();
    table.mode("auth-html", "auth:html").fails(AUTH, &["407", "Basic"]).once();
    table.mode("no-login", "status:407").without_login().fails(AUTH, &["407", "Basic", "credentialsSecretRef"]).once();
    table.mode("login-basic", "login:basic");
    table.mode("login-joined", "login:joined");
    table.mode("login-repeated", "login:repeated");
    table.mode("login-forbidden", "login:forbidden");
}

fn refusals(table: &mut Table) {
    const FORBIDDEN: &str = "ProxyForbidden";
    const UPSTREAM: &str = "ProxyUpstreamFailed";
    table.mode("says-302", "status:302").fails(FORBIDDEN, &["302", "CONNECT"]).once();
    table.mode("says-400", "status:400").fails(FORBIDDEN, &["400", "the proxy answers 400"]).once();
    table.mode("says-401", "status:401").fails(FORBIDDEN, &["401"]).once();
    table.mode("says-402", "status:402").fails(FORBIDDEN, &["402"]).once();
    table.mode("says-403", "status:403").fails(FORBIDDEN, &["403", "git.corp.test:443"]).once();
    table.mode("says-404", "status:404").fails(FORBIDDEN, &["404"]).once();
    table.mode("says-405", "status:405").fails(FORBIDDEN, &["405", "opens no tunnels"]).once();
    table.mode("says-408", "status:408").fails("ProxyUnavailable|ProxyUnreachable", &["408"]);
    table.mode("says-411", "status:411").fails(FORBIDDEN, &["411"]).once();
    table.mode("says-413", "status:413").fails(FORBIDDEN, &["413"]).once();
    table.mode("says-429", "status:429:20").fails("ProxyUnavailable", &["429"]).backing_off();
    table.mode("says-451", "status:451").fails(FORBIDDEN, &["451"]).once();
    table.mode("says-500", "status:500").fails("ProxyFailed", &["500"]).backing_off();
    table.mode("says-501", "status:501").fails(FORBIDDEN, &["501", "opens no tunnels"]).once();
    table.mode("says-502", "status:502").fails(UPSTREAM, &["502"]).backing_off();
    table.mode("says-503", "status:503").fails("ProxyUnavailable", &["503"]).backing_off();
    table.mode("says-503-later", "status:503:20").fails("ProxyUnavailable", &["503"]).backing_off();
    table.mode("says-504", "status:504").fails(UPSTREAM, &["504"]).backing_off();
    table.mode("says-511", "status:511").fails("ProxyFailed|ProxyAuthRequired|BlockedByProxy", &["511"]).backing_off();
    table.mode("says-599", "status:599").fails("ProxyFailed", &["599"]).backing_off();
    table.mode("page-403", "html:403").fails("ProxyForbidden|BlockedByProxy", &["403", "blocked by policy 4711"]);
    table.mode("page-502", "html:502").fails("ProxyUpstreamFailed|BlockedByProxy", &["502", "blocked by policy 4711"]);
    table.mode("page-503", "html:503").fails("ProxyUnavailable|BlockedByProxy", &["503", "blocked by policy 4711"]);
}

fn answers_to_connect(table: &mut Table) {
    for (name, mode) in [
        ("opens-201", "connect:201"),
        ("opens-204", "connect:204"),
        ("opens-chunked", "connect:chunked"),
        ("opens-length", "connect:length"),
        ("opens-100", "connect:100"),
        ("opens-103", "connect:103"),
        ("opens-http10", "connect:http10"),
        ("opens-bare", "connect:bare"),
        ("opens-lf", "connect:lf"),
        ("opens-many-headers", "head:many"),
    ] {
        table.mode(name, mode);
    }
    const GONE: &str = "ProxyUnreachable";
    table
        .mode("opens-with-a-page", "connect:page")
        .fails("TlsFailed|BlockedByProxy|ProxyForbidden", &["git.corp.test"])
        .backing_off();
    table.mode("head-half", "head:half-close").fails(GONE, &["phase connect", "CONNECT"]).backing_off();
    table.mode("head-large", "head:large").fails(GONE, &["phase connect", "16384"]).backing_off();
    table.mode("head-endless", "head:endless").fails(GONE, &["phase connect", "16384"]).backing_off();
    table.mode("head-line", "head:line").fails(GONE, &["phase connect"]).backing_off();
    table.mode("head-garbage", "head:garbage").fails(GONE, &["not an HTTP proxy"]).backing_off();
    table.mode("head-ssh", "head:ssh").fails(GONE, &["not an HTTP proxy"]).backing_off();
    table.mode("head-empty", "head:empty").fails(GONE, &["phase connect", "closed the connection"]).backing_off();
    table.mode("head-reset", "head:reset").fails(GONE, &["closed the connection"]).backing_off();
    table.mode("closed-at-once", "accept:close").fails(GONE, &["proxy"]).backing_off();
    table.mode("reset-at-once", "accept:reset").fails(GONE, &["proxy"]).backing_off();
}

fn silences(table: &mut Table) {
    const GONE: &str = "ProxyUnreachable";
    table.mode("silent", "accept:silent").fails(GONE, &["phase connect", "3 s"]).backing_off();
    table.mode("head-stalls", "head:half-stall").fails(GONE, &["phase connect", "3 s"]).backing_off();
    table.mode("head-drips", "head:drip").fails(GONE, &["phase connect", "3 s"]).backing_off();
    table.mode("tls-never-begins", "stall:0").fails("TlsFailed", &["phase tls", "3 s"]).backing_off();
}

fn inside_the_tunnel(table: &mut Table) {
    table.mode("cut-at-once", "cut:0").fails("TlsFailed|ConnectionCut", &["git.corp.test:443"]).backing_off();
    table.mode("reset-in-tunnel", "reset:0").fails("TlsFailed|ConnectionCut", &["git.corp.test:443"]).backing_off();
    table.mode("cut-in-handshake", "cut:800").fails("TlsFailed|ConnectionCut", &["git.corp.test:443"]).backing_off();
    table
        .mode("reset-in-handshake", "reset:800")
        .fails("TlsFailed|ConnectionCut", &["git.corp.test:443"])
        .backing_off();
    table.mode("cut-in-pack", "cut:20000").fails("ConnectionCut", &["phase transfer"]);
    table.mode("reset-in-pack", "reset:20000").fails("ConnectionCut", &["phase transfer"]);
    table.mode("stall-in-pack", "stall:20000").fails("Stalled", &["phase transfer", "3 s"]);
    table.mode("page-in-tunnel", "inside:html").fails("TlsFailed|BlockedByProxy", &["git.corp.test:443"]).backing_off();
    table.mode("garbage-in-tunnel", "inside:garbage").fails("TlsFailed", &["phase tls"]).backing_off();
    table.mode("alert-in-tunnel", "inside:alert").fails("TlsFailed", &["phase tls"]).backing_off();
}

fn clear_text(table: &mut Table) {
    // Others share this port.
    table.plain("plain", "tunnel").mode = None;
    table.plain("plain-short", "forward:short").fails("ConnectionCut|ProtocolError", &["git.corp.test:80"]);
    table.plain("plain-long", "forward:long").fails("ConnectionCut", &["git.corp.test:80"]);
    table.plain("plain-chunk", "forward:chunk").fails("ConnectionCut", &["git.corp.test:80"]);
    table.plain("plain-cut", "forward:cut").fails("ConnectionCut", &["git.corp.test:80"]);
    table.plain("plain-page", "forward:html").fails("BlockedByProxy", &["blocked by policy 4711"]);
    table.plain("plain-loop", "forward:loop").fails("RedirectRefused", &["redirect"]);
}

fn tls_to_the_proxy(table: &mut Table) {
    let bed = Testbed::shared();
    table.mode("tls-proxy", "tls/tunnel");
    table.mode("tls-proxy-login", "tls/login:basic");
    table.mode("tls-proxy-403", "tls/status:403").fails("ProxyForbidden", &["403"]).once();
    table
        .mode("tls-proxy-stalls", "tls/head:half-stall")
        .fails("ProxyUnreachable", &["phase connect", "3 s"])
        .backing_off();
    table.mode("tls-proxy-cuts", "tls/cut:20000").fails("ConnectionCut", &["phase transfer"]);
    table.mode("tls-proxy-other-name", "tls-other-name/tunnel").fails("ProxyTlsUntrusted", &["phase tls"]);
    table
        .mode("tls-proxy-certificate", "tls-mutual/tunnel")
        .with(|way| way.set_proxy("clientCertificateSecretRef", json!({"name": CLIENT_CERTIFICATE})));
    table
        .proxy("tls-proxy-no-ca", &misbehaving::url("tls/tunnel"))
        .fails("ProxyTlsUntrusted", &["Proxy CA", "caSecretRef"]);
    table
        .proxy("tls-proxy-no-certificate", &bed.proxy_mutual_tls_url)
        .with(|way| way.set_proxy("caSecretRef", json!({"name": PROXY_TLS_CA})))
        .fails("ProxyUnreachable|ProxyTlsUntrusted|ProxyAuthRequired", &["proxy"]);
    // A scheme that is not what the port speaks.
    table
        .proxy("tls-to-a-plain-proxy", &misbehaving::url("tunnel").replace("http:", "https:"))
        .fails("ProxyUnreachable", &["https://"]);
    table
        .proxy("plain-to-a-tls-proxy", &misbehaving::url("tls/tunnel").replace("https:", "http:"))
        .fails("ProxyUnreachable", &["proxy"]);
}

fn socks(table: &mut Table) {
    const GONE: &str = "ProxyUnreachable";
    table.mode("socks", "socks/tunnel").without_login();
    table.mode("socks-login", "socks/login");
    table.mode("socks-no-method", "socks/no-method").fails("ProxyAuthRequired|ProxyUnreachable", &["SOCKS"]);
    table.mode("socks-refused", "socks/refused").fails("ProxyAuthRequired", &["credentialsSecretRef"]);
    table.mode("socks-failure", "socks/reply:1").without_login().fails("ProxyFailed", &["SOCKS"]).backing_off();
    for (name, mode) in [
        ("socks-no-network", "socks/reply:3"),
        ("socks-no-host", "socks/reply:4"),
        ("socks-closed-port", "socks/reply:5"),
        ("socks-expired", "socks/reply:6"),
    ] {
        table.mode(name, mode).without_login().fails("ProxyUpstreamFailed", &["SOCKS", "git.corp.test"]).backing_off();
    }
    table.mode("socks-not-allowed", "socks/reply:2").without_login().fails("ProxyForbidden", &["git.corp.test"]).once();
    table
        .mode("socks-no-command", "socks/reply:7")
        .without_login()
        .fails("ProxyUpstreamFailed|ProxyForbidden|ProxyUnreachable", &["SOCKS"]);
    table
        .mode("socks-no-address", "socks/reply:8")
        .without_login()
        .fails("ProxyUpstreamFailed|ProxyForbidden|ProxyUnreachable", &["SOCKS"]);
    table.mode("socks-silent", "socks/silent").without_login().fails(GONE, &["phase connect", "3 s"]).backing_off();
    table.mode("socks-half", "socks/half").without_login().fails(GONE, &["phase connect", "3 s"]).backing_off();
    table.mode("socks-garbage", "socks/garbage").without_login().fails(GONE, &["SOCKS"]).backing_off();
    table.mode("socks-closes", "socks/close").without_login().fails(GONE, &["phase connect"]).backing_off();
    table.mode("socks-cuts", "socks/cut:20000").without_login().fails("ConnectionCut", &["phase transfer"]);
    table.mode("socks-stalls", "socks/stall:20000").without_login().fails("Stalled", &["phase transfer"]);
    table
        .proxy("socks-to-an-http-proxy", &misbehaving::url("tunnel").replace("http:", "socks5h:"))
        .fails(GONE, &["SOCKS"]);
    table
        .proxy("http-to-a-socks-proxy", &misbehaving::url("socks/tunnel").replace("socks5h:", "http:"))
        .fails(GONE, &["proxy"]);
}

fn routes(table: &mut Table) {
    let bed = Testbed::shared();
    let at = |address: &str| format!("http://{address}:3128");
    table.proxy("proxy-closed", &bed.proxy_closed_url).fails("ProxyUnreachable", &["phase dial", "refused"]);
    table.proxy("proxy-no-route", &at(&bed.no_route_address)).fails("ProxyUnreachable", &["phase dial", "unreachable"]);
    table
        .proxy("proxy-unreachable", &at(&bed.unreachable_address))
        .fails("ProxyUnreachable", &["phase dial", "No route to host"]);
    table
        .proxy("proxy-in-a-black-hole", &at(&bed.black_hole_address))
        .fails("ProxyUnreachable", &["phase dial", "3 s"]);
    table
        .proxy("proxy-without-a-name", "http://proxy.elsewhere.test:3128")
        .fails("ProxyUnreachable", &["phase dns", "proxy.elsewhere.test"]);
    table.direct("direct-no-route", &bed.no_route_address).fails("ConnectFailed", &["direct", "unreachable"]);
    table
        .direct("direct-unreachable", &bed.unreachable_address)
        .fails("ConnectFailed", &["direct", "No route to host"]);
    table
        .direct("direct-black-hole", &bed.black_hole_address)
        .fails("ConnectTimeout", &["direct", &bed.black_hole_address, "3 s"]);
    table.direct("direct-without-a-name", "git.elsewhere.test").fails("DnsFailed", &["direct", "git.elsewhere.test"]);
}

fn servers(table: &mut Table) {
    table.server("server-429", "status:429").fails("ServerError", &["429", "slow down"]);
    table.server("server-500", "status:500").fails("ServerError", &["500"]);
    table.server("server-404", "status:404").fails("RepositoryNotFound", &["404"]);
    table.server("server-page", "html").fails("BlockedByProxy", &["blocked by policy 4711"]);
    table.server("server-garbage", "garbage").fails("ProtocolError", &["git.corp.test"]);
    table.server("server-shorter", "length:100").fails("ConnectionCut", &["git.corp.test"]);
    table.server("server-resets", "reset:20").fails("ConnectionCut", &["git.corp.test"]);
    table.server("server-freezes", "freeze:20").fails("Stalled", &["phase transfer", "3 s"]);
    table.server("server-stalls", "stall").fails("ServerSilent", &["phase first-byte", "3 s"]);
    table.nginx("nginx", "https", "open");
    table.nginx("nginx-plain", "http", "open");
    table.nginx("nginx-login", "https", "login");
    table.nginx("nginx-v0", "https", "v0");
    table.nginx("nginx-renamed", "https", "renamed");
    table.nginx("nginx-moved", "https", "moved");
    table.nginx("nginx-upgrade", "http", "upgrade");
    table.nginx("nginx-moved-login", "https", "moved-login").fails("AuthFailed", &["nginx2.corp.test", "401"]);
    table.nginx("nginx-downgrade", "https", "downgrade").fails("RedirectRefused", &["http"]);
    table.nginx("nginx-loop", "https", "loop").fails("RedirectRefused", &["redirect"]);
    table.nginx("nginx-file", "https", "file").fails("RedirectRefused", &["file"]);
    table.nginx("nginx-page", "https", "page").fails("BlockedByProxy", &["log in to the portal"]);
}
