//! Tokens that live for two seconds, as those of a cloud's IAM live for minutes. Each is the password of a user of its own, at every
//! node; users whose token has expired are removed, and a server hangs up on whoever is signed in as a user that is removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis_tether::{CredentialSource, Credentials, Event, credentials_fn};
use redis_tether_testkit::{Reply, Server};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a source says of its tokens.
const LIFETIME: Duration = Duration::from_secs(2);

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

/// Whoever gives tokens out, for the nodes of `W`.
pub struct Issuer<W> {
    world: Arc<W>,
    nodes: fn(&W) -> &[Server],
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
}

impl<W> Clone for Issuer<W> {
    fn clone(&self) -> Self {
        Issuer { world: self.world.clone(), nodes: self.nodes, holder: self.holder, book: self.book.clone() }
    }
}

impl<W: Send + Sync + 'static> Issuer<W> {
    /// For one whose links are called `holder`.
    pub fn new(world: &Arc<W>, nodes: fn(&W) -> &[Server], holder: &'static str) -> Issuer<W> {
        Issuer { world: world.clone(), nodes, holder, book: Arc::default() }
    }

    /// Gives out a token of its own each time.
    pub fn source(&self) -> impl CredentialSource + use<W> {
        let issuer = self.clone();
        credentials_fn(move |_| {
            let issuer = issuer.clone();
            async move {
                let user = issuer.issue().await;
                Ok(Credentials::new(format!("token-of-{user}")).with_username(user).with_lifetime(LIFETIME))
            }
        })
    }

    async fn issue(&self) -> String {
        let mut book = self.book.lock().await;
        book.issued += 1;
        let user = format!("{}-{}", self.holder, book.issued);
        let token = format!(">token-of-{user}");
        self.order(&["ACL", "SETUSER", &user, "on", &token, "~*", "&*", "+@all"]).await;
        book.users.push((user.clone(), Instant::now()));
        user
    }

    /// Removes every user who has expired, unless a link is signed in as it: a machine that stands still may have kept that from being
    /// signed in anew. That it is after all, [`signed_in`](Issuer::signed_in) shows. Says how many were removed so far.
    ///
    /// # Panics
    /// When a node is not well.
    pub async fn remove_expired(&self) -> usize {
        let mut book = self.book.lock().await;
        let in_use = self.signed_in().await;
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
    /// When a node is not well.
    pub async fn signed_in(&self) -> BTreeSet<String> {
        let mut users = BTreeSet::new();
        let name = format!("name={}", self.holder);
        for node in (self.nodes)(&self.world) {
            let list = node.command(&["CLIENT", "LIST"]).await.expect("the node is well");
            let text = Reply::text(&list).unwrap_or_default();
            for line in text.lines().filter(|line| line.split(' ').any(|word| word == name)) {
                users.extend(line.split(' ').find_map(|word| word.strip_prefix("user=")).map(str::to_owned));
            }
        }
        users
    }

    async fn order(&self, words: &[&str]) {
        for node in (self.nodes)(&self.world) {
            node.command(words).await.expect("the node is well");
        }
    }
}
