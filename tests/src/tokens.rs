//! Tokens that live for seconds, as those of a cloud's IAM live for minutes. Each is the password of a user of its own, at every server,
//! so that a server can tell which token a link is signed in with. Tokens are revoked, which keeps out whoever comes with one of them; or
//! their users are removed, and a server hangs up on whoever is signed in as one that is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis_tether::{CredentialSource, Credentials, Event, credentials_fn};
use redis_tether_testkit::{Reply, Server, ServerError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::watch::{PATIENCE, within};

/// What a source says of its tokens, unless it is to say something else.
pub const LIFETIME: Duration = Duration::from_secs(2);

/// For how long beyond that the servers take them: a loaded machine is no reason to fail.
const GRACE: Duration = Duration::from_secs(2);

/// What no token that expires may bring about. A machine that stands still may well have a link be suspected for a moment, and another
/// one be dialled beside it.
pub fn is_trouble(event: &Event) -> bool {
    matches!(
        event,
        Event::Lost { .. }
            | Event::Retired { .. }
            | Event::DialFailed { .. }
            | Event::ReauthenticationFailed { .. }
            | Event::CredentialsFailed { .. }
    )
}

/// Whoever gives tokens out, for the servers of `W`.
pub struct Issuer<W> {
    world: Arc<W>,
    servers: fn(&W) -> Vec<&Server>,
    /// The name that the links of its holder have in `CLIENT LIST`.
    holder: &'static str,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    issued: u64,
    removed: usize,
    /// Those that are still users, and since when.
    users: Vec<(String, Instant)>,
    /// Those that a link was seen signed in as.
    seen: BTreeSet<String>,
}

/// One that all servers take.
#[derive(Clone)]
pub struct Token {
    /// Whose password it is.
    pub user: String,
    /// The token itself.
    pub password: String,
}

impl Token {
    /// To sign in with.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(self.password.clone()).with_username(self.user.clone())
    }
}

impl<W> Clone for Issuer<W> {
    fn clone(&self) -> Self {
        Issuer { world: self.world.clone(), servers: self.servers, holder: self.holder, book: self.book.clone() }
    }
}

impl<W: Send + Sync + 'static> Issuer<W> {
    /// For one whose links are called `holder`.
    pub fn new(world: &Arc<W>, servers: fn(&W) -> Vec<&Server>, holder: &'static str) -> Issuer<W> {
        Issuer { world: world.clone(), servers, holder, book: Arc::default() }
    }

    /// Whose servers take the tokens.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// Gives out a token of its own each time, and says that it lives this long.
    pub fn source(&self, lifetime: Duration) -> impl CredentialSource + use<W> {
        let issuer = self.clone();
        credentials_fn(move |_| {
            let issuer = issuer.clone();
            async move { Ok(issuer.issue().await.credentials().with_lifetime(lifetime)) }
        })
    }

    /// Gives one out.
    ///
    /// # Panics
    /// When a server is not well.
    pub async fn issue(&self) -> Token {
        let mut book = self.book.lock().await;
        book.issued += 1;
        let user = format!("{}-{}", self.holder, book.issued);
        let password = format!("token-of-{user}");
        self.order(&["ACL", "SETUSER", &user, "on", &format!(">{password}"), "~*", "&*", "+@all"]).await;
        book.users.push((user.clone(), Instant::now()));
        Token { user, password }
    }

    /// Has the servers take none any more that a link was signed in with, but for the last one. Links that are signed in with others stay.
    /// One that nobody has signed in with yet may be on its way to a server, for as long as the machine stands still, and is
    /// taken then.
    ///
    /// # Panics
    /// When a server is not well.
    pub async fn revoke_all_but_the_last(&self) {
        let mut book = self.book.lock().await;
        self.look(&mut book).await;
        let (_, others) = book.users.split_last().expect("one was given out");
        for (user, _) in others.iter().filter(|(user, _)| book.seen.contains(user)) {
            self.order(&["ACL", "SETUSER", user, "resetpass"]).await;
        }
    }

    /// Removes every user who has expired, unless a link is signed in as it: a machine that stands still may have kept that from being
    /// signed in anew. That it is after all, [`signed_in`](Issuer::signed_in) shows. Says how many were removed so far.
    ///
    /// # Panics
    /// When a server is not well.
    pub async fn remove_expired(&self) -> usize {
        let mut book = self.book.lock().await;
        let in_use = self.look(&mut book).await;
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut book.users)
            .into_iter()
            .partition(|(user, since)| since.elapsed() > LIFETIME + GRACE && !in_use.contains(user));
        book.users = stay;
        book.removed += gone.len();
        for (user, _) in &gone {
            self.order(&["ACL", "DELUSER", user]).await;
        }
        book.removed
    }

    /// The users that links are signed in as. Once each link has told of two renewals since, it is none of these any more; the first
    /// may have been under way.
    ///
    /// # Panics
    /// When a server is not well.
    pub async fn signed_in(&self) -> BTreeSet<String> {
        let mut book = self.book.lock().await;
        self.look(&mut book).await
    }

    async fn look(&self, book: &mut Book) -> BTreeSet<String> {
        let mut users = BTreeSet::new();
        let name = format!("name={}", self.holder);
        for server in (self.servers)(&self.world) {
            let list = ask(server, &["CLIENT", "LIST"]).await;
            let text = Reply::text(&list).unwrap_or_default();
            for line in text.lines().filter(|line| line.split(' ').any(|word| word == name)) {
                users.extend(line.split(' ').find_map(|word| word.strip_prefix("user=")).map(str::to_owned));
            }
        }
        book.seen.extend(users.iter().cloned());
        users
    }

    /// Sends this to each server.
    ///
    /// # Panics
    /// When a server is not well.
    pub async fn order(&self, words: &[&str]) {
        for server in (self.servers)(&self.world) {
            ask(server, words).await;
        }
    }
}

/// What the server says. One that is told to follow another one drops its clients, whatever they are about: it is asked again.
async fn ask(server: &Server, words: &[&str]) -> Reply {
    within(PATIENCE, "a server that answers", async {
        loop {
            match server.command(words).await {
                Err(ServerError::Connection { .. }) => sleep(Duration::from_millis(20)).await,
                said => return said.expect("the server is well"),
            }
        }
    })
    .await
}
