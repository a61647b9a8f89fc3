//! Credentials that change: the [`CredentialSource`] trait, sources made of a closure, and what they answer. The keyring
//! (`credentials/keyring.rs`) asks them for dials and for the live link, and bounds the waiting; the source that a
//! configuration's files make is in `credentials/file.rs`. Nothing here signs in.

mod file;
pub(crate) mod keyring;
mod written;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::config::Password;
use crate::transport::BoxFuture;

/// What a connection signs in with.
///
/// `Debug` hides the password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    username: Option<String>,
    password: Password,
    lifetime: Option<Duration>,
}

impl Credentials {
    /// This password, of the user `default`, for as long as the server takes it.
    pub fn new(password: impl Into<Password>) -> Credentials {
        Credentials { username: None, password: password.into(), lifetime: None }
    }

    /// Of this user. An empty name is none.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Credentials {
        self.username = Some(username.into()).filter(|username| !username.is_empty());
        self
    }

    /// Not to be used later than this, from the moment at which the source answers. The source is asked again when between
    /// 70 and 80 % of it have passed. Default: for ever.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Credentials {
        self.lifetime = Some(lifetime);
        self
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(crate) fn password(&self) -> &Password {
        &self.password
    }

    /// Whether a server is told the same, however long that may be.
    fn says_the_same_as(&self, other: &Credentials) -> bool {
        self.username == other.username && self.password == other.password
    }
}

/// Why a source is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Occasion {
    /// A connection has been made and is to sign in.
    Dial,
    /// What the live link has signed in with is about to expire, or it is time to see whether it has changed.
    Renewal,
    /// A server has refused what was answered last. A source that keeps its answers must not give the same one again.
    Refused,
}

/// Where credentials come from that change: tokens that expire, secrets that are rotated.
///
/// It is asked for every dial (once, however many wait for the answer at the same time), before what it answered
/// [expires](Credentials::with_lifetime), every [`check_interval`](CredentialSource::check_interval), and at once where a server
/// refuses what it answered last.
pub trait CredentialSource: Send + Sync + 'static {
    /// The credentials to use from now on.
    ///
    /// Runs as a task of its own, and must not block its thread. An answer that takes longer than a third of
    /// [`dial.timeout`](crate::DialSettings::timeout) (1 s by default) is not waited for by a dial that has older credentials which have not
    /// expired; after 10 s the future is dropped. It may panic; that is an error like any.
    ///
    /// A connection to a sentinel is signed in at once with what was answered last, unless that has expired, and the answer is for
    /// the next one. Where it has expired, where nothing was answered yet, or where a sentinel refuses it, the answer is waited for: a third
    /// of [`dial.connect_timeout`](crate::DialSettings::connect_timeout) (333 ms by default).
    ///
    /// # Errors
    /// Says why there are none. No error is final. The text is shown in the log and in the status: it must have no secret
    /// in it.
    fn credentials(&self, occasion: Occasion) -> BoxFuture<'static, Result<Credentials, CredentialsError>>;

    /// How often to ask whether the credentials have changed, while a link serves. 100 ms at the least. Default: never, but before they
    /// expire.
    fn check_interval(&self) -> Option<Duration> {
        None
    }
}

/// Why a source has no credentials.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CredentialsError {
    message: String,
}

impl CredentialsError {
    /// With this text, which must have no secret in it.
    pub fn new(message: impl fmt::Display) -> CredentialsError {
        CredentialsError { message: message.to_string() }
    }
}

/// A source made of an async closure, as for the tokens of a cloud's IAM.
///
/// ```
/// use redis_tether::{Config, Credentials, Tether, credentials_fn};
/// use std::time::Duration;
///
/// # async fn token() -> Result<String, std::io::Error> { Ok("secret".into()) }
/// let source = credentials_fn(|_occasion| async {
///     let token = token().await.map_err(redis_tether::CredentialsError::new)?;
///     Ok(Credentials::new(token).with_username("app").with_lifetime(Duration::from_secs(15 * 60)))
/// });
/// let builder = Tether::builder(Config::new("redis", 6379)).credentials(source);
/// # let _ = builder;
/// ```
pub fn credentials_fn<F, Fut>(ask: F) -> impl CredentialSource
where
    F: Fn(Occasion) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, CredentialsError>> + Send + 'static,
{
    CredentialsFn(ask)
}

struct CredentialsFn<F>(F);

impl<F, Fut> CredentialSource for CredentialsFn<F>
where
    F: Fn(Occasion) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, CredentialsError>> + Send + 'static,
{
    fn credentials(&self, occasion: Occasion) -> BoxFuture<'static, Result<Credentials, CredentialsError>> {
        Box::pin((self.0)(occasion))
    }
}
