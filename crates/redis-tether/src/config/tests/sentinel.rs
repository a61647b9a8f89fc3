//! Sentinels in every form that a configuration comes in: what they mean, and which are refused for which reason.

use super::super::{Config, ConfigError, Endpoint, Password, SentinelEndpoint, SentinelNode};
#[cfg(feature = "tls")]
use super::super::{SentinelTls, TlsSettings, TlsVerify};
use super::{SECRET, assert_no_secret, message};

fn nodes() -> [SentinelNode; 2] {
    [SentinelNode::new("a", 26379), SentinelNode::new("b", 5000)]
}

fn expected() -> Config {
    Config::sentinel(nodes(), "mymaster")
}

/// The same with credentials for the sentinels.
fn with_credentials() -> Config {
    let mut sentinel = SentinelEndpoint::new(nodes(), "mymaster");
    sentinel.username = Some("watch".to_owned());
    sentinel.password = Some(Password::new(SECRET));
    let mut config = expected();
    config.endpoint = Endpoint::Sentinel(sentinel);
    config
}

fn from_vars(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn from_json(value: serde_json::Value) -> Result<Config, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn urls() {
    let with_server = || expected().with_username("u").with_password("p").with_db(3);
    let cases = [
        ("redis+sentinel://a,b:5000/mymaster", expected()),
        ("VALKEY+SENTINEL://a:26379,b:5000/mymaster/", expected()),
        ("redis-sentinel://a,b:5000/mymaster/0", expected()),
        ("redis+sentinel://u:p@a,b:5000/mymaster/3", with_server()),
        ("redis+sentinel://a,b:5000/mymaster?user=u&pass=p&db=3", with_server()),
        ("redis+sentinel://[::1]:1/my%2Fmaster", Config::sentinel([SentinelNode::new("::1", 1)], "my/master")),
    ];
    for (url, expected) in cases {
        assert_eq!(Config::from_url(url).as_ref(), Ok(&expected), "{url}");
    }
    let url = format!("redis+sentinel://a,b:5000/mymaster?sentinel_user=watch&sentinel_pass={SECRET}");
    assert_eq!(Config::from_url(&url), Ok(with_credentials()));
}

#[test]
fn what_is_printed_has_no_password_and_reads_back() {
    let config = with_credentials().with_password(SECRET);
    let printed = config.to_string();
    assert_eq!(printed, "redis+sentinel://:***@a:26379,b:5000/mymaster/0?sentinel_user=watch&sentinel_pass=***");
    assert_no_secret(&format!("{config:?} {} {:?}", config.endpoint, config.endpoint));
    assert_eq!(config.endpoint.to_string(), "mymaster at sentinels a:26379,b:5000");
    assert!(Config::from_url(&printed).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn over_tls() {
    let over_tls = || expected().with_tls(super::super::TlsSettings::new());
    for url in ["rediss+sentinel://a,b:5000/mymaster", "valkeys+sentinel://a,b:5000/mymaster"] {
        assert_eq!(Config::from_url(url), Ok(over_tls()), "{url}");
    }
    assert_eq!(Config::from_stackexchange("a,b:5000,serviceName=mymaster,ssl=true"), Ok(over_tls()));
    let printed = over_tls().to_string();
    assert_eq!(printed, "rediss+sentinel://a:26379,b:5000/mymaster/0");
    assert_eq!(Config::from_url(&printed), Ok(over_tls()));
}

/// With files for the credentials and TLS of their own.
#[cfg(feature = "tls")]
fn apart() -> Config {
    let tls = TlsSettings::new().with_ca_file("/ca.pem").with_client_certificate("/c.pem", "/k.pem");
    let tls = tls.with_server_name("sentinel.internal");
    let sentinel = SentinelEndpoint::new(nodes(), "mymaster").with_tls(tls);
    let sentinel = sentinel.with_username_file("/run/user").with_password_file("/run/password");
    Config { endpoint: Endpoint::Sentinel(sentinel), ..expected() }
}

#[cfg(feature = "tls")]
fn with_tls(tls: SentinelTls) -> Config {
    let mut sentinel = SentinelEndpoint::new(nodes(), "mymaster");
    sentinel.tls = tls;
    Config { endpoint: Endpoint::Sentinel(sentinel), ..expected() }
}

#[cfg(feature = "tls")]
#[test]
fn what_they_have_of_their_own_in_each_form() {
    let url = "redis+sentinel://a:26379,b:5000/mymaster/0";
    let mut insecure = TlsSettings::new();
    insecure.verify = TlsVerify::Insecure;
    let cases = [
        ("sentinel_tls=true", with_tls(SentinelTls::own(TlsSettings::new()))),
        ("sentinel_tls=false", with_tls(SentinelTls::Off)),
        ("sentinel_tls=true&sentinel_tls_verify=insecure", with_tls(SentinelTls::own(insecure))),
        (
            "sentinel_username_file=/run/user&sentinel_password_file=/run/password&sentinel_tls=true\
             &sentinel_tls_server_name=sentinel.internal&sentinel_tls_ca_file=/ca.pem&sentinel_tls_cert_file=/c.pem\
             &sentinel_tls_key_file=/k.pem",
            apart(),
        ),
    ];
    for (parameters, expected) in cases {
        let url = format!("{url}?{parameters}");
        assert_eq!(Config::from_url(&url), Ok(expected.clone()), "{url}");
        assert_eq!(expected.to_string(), url);
        let written = serde_json::to_value(&expected).expect("plain data");
        assert_eq!(from_json(written), Ok(expected), "{url}");
    }
    let short = format!("{url}?sentinel_tls_ca_file=/ca.pem");
    let trusting = with_tls(SentinelTls::own(TlsSettings::new().with_ca_file("/ca.pem")));
    assert_eq!(Config::from_url(&short), Ok(trusting.clone()), "whoever gives one asks for TLS");
    let file = |tls: serde_json::Value| {
        let endpoint = serde_json::json!({ "sentinels": "a,b:5000", "master": "mymaster", "tls": tls });
        from_json(serde_json::json!({ "endpoint": endpoint }))
    };
    assert_eq!(file(serde_json::json!({ "ca_file": "/ca.pem" })), Ok(trusting.clone()));
    assert_eq!(file(serde_json::json!({})), Ok(with_tls(SentinelTls::own(TlsSettings::new()))));
    assert_eq!(file(serde_json::json!("false")), Ok(with_tls(SentinelTls::Off)), "an environment has text");
    assert_eq!(file(serde_json::Value::Null), Ok(expected()));

    let named = [("REDIS_SENTINELS", "a,b:5000"), ("REDIS_SENTINEL_MASTER", "mymaster")];
    let with = |more: &[(&'static str, &'static str)]| from_vars(&[&named[..], more].concat());
    assert_eq!(with(&[("REDIS_SENTINEL_TLS", "false")]), Ok(with_tls(SentinelTls::Off)));
    assert_eq!(with(&[("REDIS_SENTINEL_TLS_CA_FILE", "/ca.pem")]), Ok(trusting));
    let all = [
        ("REDIS_SENTINEL_TLS", "true"),
        ("REDIS_SENTINEL_TLS_CA_FILE", "/ca.pem"),
        ("REDIS_SENTINEL_TLS_CERT_FILE", "/c.pem"),
        ("REDIS_SENTINEL_TLS_KEY_FILE", "/k.pem"),
        ("REDIS_SENTINEL_TLS_SERVER_NAME", "sentinel.internal"),
        ("REDIS_SENTINEL_USERNAME_FILE", "/run/user"),
        ("REDIS_SENTINEL_PASSWORD_FILE", "/run/password"),
    ];
    assert_eq!(with(&all), Ok(apart()));
}

#[cfg(feature = "tls")]
#[test]
fn what_they_have_of_their_own_and_may_not_have() {
    let urls = [
        ("sentinel_tls=false&sentinel_tls_ca_file=/ca.pem", "endpoint.tls is declined (sentinel_tls=false)"),
        ("sentinel_tls_ca_file=/ca.pem&sentinel_tls=false", "endpoint.tls is declined (sentinel_tls=false)"),
        ("sentinel_tls=maybe", "endpoint.tls is `maybe`, expected true or false"),
        ("sentinel_tls_cert_file=/c.pem", "endpoint.tls has a cert_file without the key_file"),
        ("sentinel_tls_ca_file=https://x", "endpoint.tls.ca_file is a URL"),
        ("sentinel_password_file=few", "endpoint.password_file is not an absolute path"),
        ("sentinel_pass=few&sentinel_password_file=/p", "endpoint.password_file is given beside a password"),
        ("sentinel_username_file=/u", "endpoint.username_file is given without a password"),
    ];
    for (parameters, expected) in urls {
        let message = message(Config::from_url(&format!("redis+sentinel://a/m?{parameters}")));
        assert!(message.contains(expected), "{parameters}: {message}");
    }
    let message_of = |url: &str| message(Config::from_url(url));
    assert!(message_of("redis://a?sentinel_tls=true").contains("means nothing here"), "no sentinels");
    let url = ("REDIS_URL", "redis+sentinel://a/m?sentinel_tls=false");
    let variables: [(&[(&str, &str)], &str); 4] = [
        (&[url, ("REDIS_SENTINEL_TLS", "true")], "REDIS_URL and REDIS_SENTINEL_TLS disagree"),
        (&[url, ("REDIS_SENTINEL_TLS_CA_FILE", "/ca.pem")], "REDIS_SENTINEL_TLS_CA_FILE is given, and TLS"),
        (&[("REDIS_HOST", "a"), ("REDIS_SENTINEL_TLS", "true")], "REDIS_SENTINEL_TLS means nothing here"),
        (
            &[url, ("REDIS_SENTINEL_PASSWORD", "few"), ("REDIS_SENTINEL_PASSWORD_FILE", "/p")],
            "REDIS_SENTINEL_PASSWORD and REDIS_SENTINEL_PASSWORD_FILE disagree",
        ),
    ];
    for (vars, expected) in variables {
        let message = message(from_vars(vars));
        assert!(message.contains(expected), "{vars:?}: {message}");
    }
}

#[test]
fn files() {
    let sentinels = serde_json::json!(["a", "b:5000"]);
    let endpoint = serde_json::json!({ "sentinels": sentinels, "master": "mymaster" });
    assert_eq!(from_json(serde_json::json!({ "endpoint": endpoint })), Ok(expected()));
    let text = serde_json::json!({ "endpoint": { "sentinels": "a,b:5000", "master": "mymaster" } });
    assert_eq!(from_json(text), Ok(expected()));
    let url = serde_json::json!({ "endpoint": "redis+sentinel://a,b:5000/mymaster" });
    assert_eq!(from_json(url), Ok(expected()));
    let written = serde_json::to_value(with_credentials()).expect("plain data");
    assert_eq!(written["endpoint"]["sentinels"], serde_json::json!(["a:26379", "b:5000"]));
    assert_eq!(from_json(written), Ok(with_credentials()));
}

#[test]
fn stackexchange() {
    let read = Config::from_stackexchange;
    assert_eq!(read("a,b:5000,serviceName=mymaster"), Ok(expected()));
    let apart = format!("a,b:5000,serviceName=mymaster,sentinelUser=watch,sentinelPassword={SECRET}");
    assert_eq!(read(&apart), Ok(with_credentials()));
    // One password for both, as that library has it.
    let both = read(&format!("a,b:5000,serviceName=mymaster,user=watch,password={SECRET}"));
    assert_eq!(both, Ok(with_credentials().with_username("watch").with_password(SECRET)));
}

#[test]
fn the_environment() {
    let named = [("REDIS_SENTINELS", "a, b:5000"), ("REDIS_SENTINEL_MASTER", "mymaster")];
    let with = |more: &[(&'static str, &'static str)]| from_vars(&[&named[..], more].concat());
    assert_eq!(with(&[]), Ok(expected()));
    assert_eq!(with(&[("REDIS_PASSWORD", "p"), ("REDIS_DB", "3")]), Ok(expected().with_password("p").with_db(3)));
    let credentials = [("REDIS_SENTINEL_USERNAME", "watch"), ("REDIS_SENTINEL_PASSWORD", SECRET)];
    assert_eq!(with(&credentials), Ok(with_credentials()));
    let url = ("REDIS_URL", "redis+sentinel://a,b:5000/mymaster");
    assert_eq!(from_vars(&[&[url], &credentials[..]].concat()), Ok(with_credentials()));
    assert_eq!(with(&[url]), Ok(expected()));
    assert_eq!(with(&[("REDIS_PORT", "tcp://10.0.0.1:6379")]), Ok(expected()), "injected by Kubernetes");
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[named[0]], "REDIS_SENTINELS: sentinel list without a master's name"),
        (&[named[1]], "REDIS_SENTINELS: sentinel list is empty"),
        (&[named[0], named[1], ("REDIS_HOST", "c")], "REDIS_SENTINELS and REDIS_HOST disagree"),
        (&[named[0], ("REDIS_URL", "redis://c")], "REDIS_URL and REDIS_SENTINELS disagree"),
        (&[("REDIS_SENTINEL_MASTER", "other"), url], "REDIS_URL and REDIS_SENTINEL_MASTER disagree"),
        (&[("REDIS_SENTINELS", "a:0"), named[1]], "REDIS_SENTINELS: port is not a port"),
        (&[("REDIS_HOST", "a"), credentials[1]], "means nothing here: no sentinels are named"),
    ];
    for (vars, expected) in cases {
        let message = message(from_vars(vars));
        assert!(message.contains(expected), "{vars:?}: {message}");
    }
}

#[test]
fn refused() {
    let many: Vec<_> = (1..=33).map(|port| format!("a:{port}")).collect();
    let cases = [
        ("redis+sentinel://".to_owned(), "sentinel list is empty: name at least one"),
        ("redis+sentinel:///mymaster".to_owned(), "sentinel list is empty: name at least one"),
        ("redis+sentinel://a,b".to_owned(), "without a master's name: give the one of `sentinel monitor NAME ...`"),
        ("redis+sentinel://a,,b/m".to_owned(), "host is empty"),
        ("redis+sentinel://a,b:0/m".to_owned(), "port is not a port, expected a number from 1 to 65535"),
        ("redis+sentinel://a,b,a:26379/m".to_owned(), "sentinel a:26379 is named twice"),
        (format!("redis+sentinel://{}/m", many.join(",")), "longer than 32"),
        ("redis+sentinel://a/my%20master".to_owned(), "printable ASCII without spaces is allowed"),
        ("redis+sentinel://a/m/one".to_owned(), "db is not a number"),
        ("redis+sentinel://0.0.0.0/m".to_owned(), "wildcard"),
        (format!("redis+sentinel://u:{SECRET}@a,u:{SECRET}@b/m"), "it has several @"),
        (format!("redis+sentinel://u:pa/{SECRET}@a/m"), "it has an @ after the host"),
        (format!("redis+sentinel://a/m?sentinel_pass={SECRET}&{SECRET}"), "parameter 2"),
        ("redis+sentinel://a/m?sentinel_user=u".to_owned(), "username is given without a password for them"),
        ("a,b,serviceName=m,serviceName=n".to_owned(), "serviceName is given twice"),
        ("!/run/s,serviceName=m".to_owned(), "sentinels are hosts"),
        ("serviceName=m".to_owned(), "sentinel list is empty"),
    ];
    for (text, expected) in cases {
        let message = message(text.parse());
        assert!(message.contains(expected), "{text}: {message}");
    }
    let mut zero = expected();
    zero.endpoint = Endpoint::sentinel([SentinelNode::new("a", 0)], "m");
    assert!(message(zero.validate().map(|()| zero)).contains("the port of a sentinel is 0, allowed is 1 to 65535"));
}

#[test]
fn files_are_refused_by_what_is_wrong_with_them() {
    let cases = [
        (serde_json::json!({ "sentinels": [], "master": "m" }), "sentinel list is empty"),
        (serde_json::json!({ "sentinels": ["a"] }), "without a master's name"),
        (serde_json::json!({ "sentinels": [1], "master": "m" }), "endpoint.sentinels is a number"),
        (serde_json::json!({ "sentinels": ["a"], "master": "m", "host": "b" }), "allowed are sentinels, master"),
        (serde_json::json!({ "sentinels": ["a", "a"], "master": "m" }), "named twice"),
    ];
    for (endpoint, expected) in cases {
        let error = from_json(serde_json::json!({ "endpoint": endpoint })).expect_err("refused");
        assert!(error.contains(expected), "{error}");
    }
}
