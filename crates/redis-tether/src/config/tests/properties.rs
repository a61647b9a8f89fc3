//! Properties over arbitrary input: no parser panics or gives secrets away, and what `Display` prints reads back.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::table::SETTINGS;
use super::super::{Config, Endpoint, Password, SentinelNode};
use super::{SECRET, assert_no_secret};

/// Text made of what the parsers look for, so that it gets past their first check more often than noise would.
fn almost_config() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "redis",
        "rediss",
        "unix",
        "valkey",
        "+sentinel",
        "sentinel_pass",
        "serviceName",
        "+",
        "://",
        ":",
        "/",
        "?",
        "#",
        "@",
        "&",
        "=",
        ",",
        "%",
        "%2F",
        "%ff",
        "[",
        "]",
        "::1",
        "6379",
        "0",
        "18446744073709551616",
        "deadline",
        "2s",
        "99999999999999999999y",
        "password",
        "ssl",
        "keepAlive",
        "$",
        "!",
        " ",
        "\n",
        "é",
        "tcp",
        "asyncTimeout",
        "client_name",
        ".",
        "-",
        "protocol",
        "resp3",
        "rediss",
        "tls_ca_file",
        "password_file",
        "tls_verify",
        "insecure",
        "sslHost",
        "true",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), almost_config()]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9])?(\\.[a-z]{1,8}){0,3}\\.?",
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<u128>().prop_map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
    ]
}

fn endpoint() -> impl Strategy<Value = Config> {
    prop_oneof![
        (host(), 1..=u16::MAX).prop_map(|(host, port)| Config::new(host, port)),
        "/[^\0]{0,25}".prop_map(Config::unix),
        (sentinels(), "[!-~]{1,12}").prop_map(|(nodes, master)| Config::sentinel(nodes, master)),
    ]
}

fn sentinels() -> impl Strategy<Value = Vec<SentinelNode>> {
    let node = (host(), 1..=u16::MAX).prop_map(|(host, port)| SentinelNode::new(host, port));
    prop::collection::vec(node, 1..4)
}

fn settings() -> impl Strategy<Value = Vec<(usize, &'static str)>> {
    let all: Vec<_> = (0..SETTINGS.len()).collect();
    let values = select(vec![
        "1ms",
        "999ms",
        "1s",
        "59s999ms999us999ns",
        "1h",
        "2days",
        "1",
        "100",
        "2048",
        "resp3",
        "role",
        "fail_fast",
        "insecure",
        "/etc/redis/ca & co.pem",
        "redis.internal.",
    ]);
    subsequence(all, 0..=SETTINGS.len()).prop_flat_map(move |rows| {
        let count = rows.len();
        (Just(rows), prop::collection::vec(values.clone(), count))
            .prop_map(|(rows, values)| rows.into_iter().zip(values).collect())
    })
}

/// Any configuration that is valid. Settings that would not be are left at their defaults.
fn valid_config() -> impl Strategy<Value = Config> {
    let identity =
        (prop::option::of("[^\0]{1,12}"), prop::option::of("[!-~]{1,20}"), 0..=2_147_483_647_u32, any::<bool>());
    (endpoint(), identity, settings()).prop_filter_map("an invalid endpoint", |(mut config, identity, settings)| {
        let (username, client_name, db, has_password) = identity;
        if let Endpoint::Sentinel(sentinel) = &mut config.endpoint {
            sentinel.password = has_password.then(|| Password::new(SECRET));
            sentinel.username = username.clone().filter(|_| has_password);
        }
        config.db = db;
        config.client_name = client_name;
        config.password = has_password.then(|| Password::new(SECRET));
        config.username = username.filter(|_| has_password);
        config.validate().ok()?;
        for (row, value) in settings {
            let mut next = config.clone();
            if SETTINGS[row].parse(&mut next, value).is_ok() && next.validate().is_ok() {
                config = next;
            }
        }
        Some(config)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_parser_panic(text in any_text()) {
        for result in [
            Config::from_url(&text),
            Config::from_stackexchange(&text),
            text.parse::<Config>(),
            Config::from_url(&format!("redis://{text}")),
            Config::from_url(&format!("unix:///{text}")),
            Config::from_url(&format!("redis+sentinel://{text}")),
            Config::from_url(&format!("redis+sentinel://a,b/{text}")),
            Config::from_url(&format!("redis://h?{text}")),
            Config::from_url(&format!("redis://h?deadline={text}")),
            Config::from_stackexchange(&format!("h,{text}")),
        ] {
            match result {
                Ok(config) => prop_assert_eq!(config.validate(), Ok(())),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn no_environment_makes_it_panic(values in prop::collection::vec(prop::option::of(any_text()), 12)) {
        let names = [
            "REDIS_URL",
            "REDIS_HOST",
            "REDIS_PORT",
            "REDIS_USERNAME",
            "REDIS_PASSWORD",
            "REDIS_DB",
            "REDIS_SENTINELS",
            "REDIS_SENTINEL_MASTER",
            "REDIS_SENTINEL_USERNAME",
            "REDIS_SENTINEL_PASSWORD",
            "REDIS_USERNAME_FILE",
            "REDIS_PASSWORD_FILE",
        ];
        let result = Config::from_vars(|name| {
            names.iter().position(|known| *known == name).and_then(|index| values[index].clone())
        });
        if let Ok(config) = result {
            prop_assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn no_file_makes_it_panic(deadline in any_text(), host in any_text(), password in any_text()) {
        let json = serde_json::json!({
            "endpoint": { "host": host }, "password": password, "commands": { "deadline": deadline },
        });
        if let Ok(config) = serde_json::from_value::<Config>(json) {
            let _ = config.validate();
            let _ = format!("{config} {config:?}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_but_for_the_password(config in valid_config()) {
        let printed = config.to_string();
        let mut read = Config::from_url(&printed).expect(&printed);
        if config.password.is_some() {
            prop_assert_eq!(read.password.as_ref().map(Password::expose), Some("***"));
            read.password = config.password.clone();
        }
        if let (Endpoint::Sentinel(read), Endpoint::Sentinel(sentinel)) = (&mut read.endpoint, &config.endpoint) {
            read.password = sentinel.password.clone();
        }
        prop_assert_eq!(&read, &config, "{}", printed);
        let json = serde_json::to_string(&config).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Config>(&json).ok(), Some(config));
    }

    #[test]
    fn nothing_that_is_printed_has_the_password(config in valid_config()) {
        let secret = config.with_password(SECRET);
        assert_no_secret(&format!("{secret} {secret:?} {secret:#?}"));
    }

    /// A URL with a password, damaged in one place: whatever is wrong with it, the error does not show the password.
    #[test]
    fn no_error_has_the_password(config in valid_config(), tail in any_text(), cut in any::<prop::sample::Index>()) {
        let encoded: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for password in [SECRET, encoded.as_str()] {
            let url = config.to_string().replace("***", password);
            let safe = url.find(password).map_or(0, |start| start + password.len());
            let ends: Vec<_> = (safe..=url.len()).filter(|end| url.is_char_boundary(*end)).collect();
            let damaged = format!("{}{tail}", &url[..ends[cut.index(ends.len())]]);
            for result in [Config::from_url(&damaged), damaged.parse(), Config::from_stackexchange(&damaged)] {
                if let Err(error) = result {
                    let shown = format!("{error} {error:?}");
                    assert_no_secret(&shown);
                    prop_assert!(!shown.contains(&encoded[..12]), "{shown}");
                }
            }
        }
    }

    #[test]
    fn no_error_about_a_connection_string_has_the_password(tail in any_text(), head in any_text()) {
        for text in [format!("h,password={SECRET},{tail}"), format!("{head},password={SECRET}")] {
            if let Err(error) = Config::from_stackexchange(&text) {
                assert_no_secret(&format!("{error} {error:?}"));
            }
        }
    }
}
