//! Credentials at the sentinels that change: a source of their own is asked for each connection to one of them, and where it is
//! refused. The servers ask for none here, and would refuse those.

use std::sync::{Arc, Mutex};

use redis_tether::{Credentials, CredentialsError, Event, Occasion, Tether, credentials_fn};
use redis_tether_tests::rig::{self, InMemory};
use redis_tether_tests::watch::Diary;
use tokio::time::{Instant, sleep};

use crate::world::{World, at, ms, server};

/// What a source answers with, and what it was asked for.
#[derive(Clone, Default)]
struct Vault {
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<Occasion>>>,
}

impl Vault {
    fn put(&self, password: &str) {
        *self.answer.lock().expect("no panic") = Some(password.to_owned());
    }

    fn lose(&self) {
        *self.answer.lock().expect("no panic") = None;
    }

    fn asked(&self) -> Vec<Occasion> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }

    fn answer(&self, occasion: Occasion) -> Result<Credentials, CredentialsError> {
        self.asked.lock().expect("no panic").push(occasion);
        let answer = self.answer.lock().expect("no panic").clone();
        answer.map(Credentials::new).ok_or_else(|| CredentialsError::new("the vault is empty"))
    }
}

async fn start(world: &World, vault: &Vault) -> Tether {
    let vault = vault.clone();
    let source = credentials_fn(move |occasion| std::future::ready(vault.answer(occasion)));
    let builder = Tether::builder(world.config()).resolver(rig::resolver(&world.dns)).seed(7);
    let builder = builder.transport(InMemory(world.net.clone())).sentinel_credentials(source);
    builder.start().await.expect("a valid configuration")
}

/// From now on all sentinels ask for this one.
fn lock(world: &World, password: &str) {
    world.sentinels.iter().for_each(|sentinel| {
        sentinel.require_password(password);
        sentinel.kill_connections();
    });
}

async fn until_at(tether: &Tether, n: u8) {
    let begun = Instant::now();
    while at(tether) != Some(server(n)) {
        assert!(begun.elapsed() < ms(5_000), "not moved: {}", *tether.status().borrow());
        sleep(ms(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_source_answers_now_opens_the_next_sentinel() {
    let (world, vault) = (World::new(), Vault::default());
    lock(&world, "first");
    vault.put("first");
    let tether = start(&world, &vault).await;
    tether.ready(ms(1_000)).await.expect("the sentinels let it in");
    lock(&world, "second");
    vault.put("second");
    sleep(ms(5_000)).await;
    let by = world.listened_to().expect("nobody is listened to any more");
    world.promote(1);
    world.announce(by, 1, 2);
    until_at(&tether, 1).await;
    let asked = vault.asked();
    assert!(asked.iter().all(|occasion| *occasion == Occasion::Dial), "what it answered was never refused: {asked:?}");
    tether.shutdown().await;
}

/// A source that keeps its answers is told that the last was no good, and the same connection goes on with the next.
#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_asked_about_at_once() {
    let (world, vault) = (World::new(), Vault::default());
    lock(&world, "second");
    let (kept, told) = (vault.clone(), vault.clone());
    kept.put("first");
    let source = credentials_fn(move |occasion| {
        if occasion == Occasion::Refused {
            told.put("second");
        }
        std::future::ready(told.answer(occasion))
    });
    let builder = Tether::builder(world.config()).resolver(rig::resolver(&world.dns)).seed(7);
    let builder = builder.transport(InMemory(world.net.clone())).sentinel_credentials(source);
    let tether = builder.start().await.expect("a valid configuration");
    tether.ready(ms(100)).await.expect("the first round of questions is let in");
    assert!(kept.asked().contains(&Occasion::Refused));
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_without_an_answer_is_told_of_as_that_of_the_sentinels() {
    let (world, vault) = (World::new(), Vault::default());
    lock(&world, "first");
    vault.lose();
    let tether = start(&world, &vault).await;
    let mut diary = Diary::of(&tether);
    sleep(ms(2_000)).await;
    let is_told = |event: &Event| matches!(event, Event::CredentialsFailed { error, .. } if &**error == "for the sentinels: the vault is empty");
    assert!(diary.count(is_told) > 0, "{:?}", diary.so_far());
    let said = tether.status().borrow().last_error.clone().expect("something is wrong");
    assert!(said.contains("the vault is empty"), "{said}");
    vault.put("first");
    tether.ready(ms(5_500)).await.expect("it has one now");
    tether.shutdown().await;
}
