//! A build without TLS refuses what asks for it, and says which feature has it.

use super::super::{Config, TlsSettings};
use super::message;

#[test]
fn tls_is_refused_in_every_form() {
    let with_section = Config::new("redis", 6379).with_tls(TlsSettings::new());
    for (result, asked_by) in [
        (Config::from_url("rediss://redis"), "rediss://"),
        (Config::from_url("valkeys://redis"), "valkeys://"),
        (Config::from_stackexchange("redis,ssl=true"), "ssl=true"),
        (with_section.validate().map(|()| with_section), "tls"),
    ] {
        let expected =
            format!("{asked_by} asks for TLS, and redis-tether was built without it: enable its feature `tls`");
        assert_eq!(message(result), expected);
    }
}
