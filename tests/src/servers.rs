//! The real servers that tests run against: both kinds, and never none.

use redis_tether_testkit::{ServerBinary, ServerKind};

/// The server of this kind. A test that needs one fails where there is none; it never passes by doing nothing.
///
/// # Panics
/// If there is none, with the command that installs it.
#[must_use]
pub fn server_binary(kind: ServerKind) -> ServerBinary {
    match ServerBinary::require(kind) {
        Ok(binary) => binary,
        Err(error) => panic!("{error}\n`cargo xtask servers` installs what the tests need"),
    }
}

/// Makes a test for each kind of server of an `async fn(ServerKind)`, named `function::redis` and `function::valkey`.
#[macro_export]
macro_rules! on_each_server {
    ($($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use redis_tether_testkit::ServerKind;

            #[tokio::test]
            async fn redis() {
                super::$scenario(ServerKind::Redis).await;
            }

            #[tokio::test]
            async fn valkey() {
                super::$scenario(ServerKind::Valkey).await;
            }
        }
    )+};
}
