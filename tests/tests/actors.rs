//! What becomes of a tether when its actors die, and how it lives among an application's own: restarts that cost no
//! command, ends that are told at once, events as the application's own messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether::redis::AsyncCommands;
use redis_tether::{
    Address, BoxedStream, Config, Event, Outcome, OutcomeExt, Phase, Query, ReconnectError, Resolve, ResolveError,
    StartError, Tether, Transport,
};
use redis_tether_testkit::{FakeListener, FakeServer};
use redis_tether_tests::load::Load;
use redis_tether_tests::watch::{Diary, PATIENCE, reach, within};
use tokio::sync::mpsc;

/// Far longer than an actor takes to end, far shorter than anything that is waited out.
const AT_ONCE: Duration = Duration::from_millis(500);

async fn fake() -> (FakeServer, FakeListener) {
    let server = FakeServer::new();
    let listener = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    (server, listener)
}

fn config(addr: SocketAddr) -> Config {
    Config::new(addr.ip().to_string(), addr.port())
}

async fn connected(addr: SocketAddr) -> Tether {
    let tether = Tether::start(config(addr)).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

/// The control actors below the supervisor, told apart by where they stand in the tree.
struct Tree {
    connection: ActorCell,
    probe: ActorCell,
    watcher: ActorCell,
}

impl Tree {
    fn of(tether: &Tether) -> Tree {
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for child in tether.actor().get_children() {
            match child.get_children().pop() {
                Some(probe) => above.push((child, probe)),
                None => below.push(child),
            }
        }
        match (above.pop(), below.pop()) {
            (Some((connection, probe)), Some(watcher)) => Tree { connection, probe, watcher },
            _ => panic!("a connected tether has a connection with a probe, and a watcher"),
        }
    }

    /// Waits until each of them has been replaced that is not in `same`.
    async fn after(tether: &Tether, is_new: impl Fn(&Tree) -> bool) -> Tree {
        within(PATIENCE, "the actor to be replaced", async {
            loop {
                let complete = tether.actor().get_children().iter().any(|child| !child.get_children().is_empty());
                if complete && tether.actor().get_children().len() == 2 {
                    let tree = Tree::of(tether);
                    if is_new(&tree) {
                        return tree;
                    }
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Kills one of the actors again and again under load, and checks that nobody noticed.
async fn killing(which: fn(&Tree) -> &ActorCell) -> (Tether, FakeServer, FakeListener) {
    let (server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let (epoch, mut diary) = (tether.status().borrow().epoch, Diary::of(&tether));
    let load = Load::start(&tether.handle(), 16);
    load.go_on_for(100).await;
    for _ in 0..3 {
        let victim = which(&Tree::of(&tether)).clone();
        victim.kill();
        Tree::after(&tether, |tree| which(tree).get_id() != victim.get_id()).await;
        load.go_on_for(200).await;
    }
    let tally = load.finish().await;
    tally.assert_none_failed();
    let held: Vec<String> =
        server.written_values().into_iter().map(|value| String::from_utf8(value).expect("text")).collect();
    tally.assert_true_of(&held);
    let status = tether.status().borrow().clone();
    assert_eq!((status.phase, status.epoch), (Phase::Connected, epoch), "the link was adopted");
    assert_eq!((tether.stats().dials, tether.stats().links), (1, 1), "{:#?}", diary.so_far());
    (tether, server, listener)
}

#[tokio::test]
async fn a_killed_connection_is_restarted_and_adopts_the_link() {
    let (tether, server, _listener) = killing(|tree| &tree.connection).await;
    assert_eq!(tether.stats().restarts, 3);
    // And it still does its work.
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    tether.shutdown().await;
}

#[tokio::test]
async fn a_killed_probe_is_restarted() {
    let (tether, server, _listener) = killing(|tree| &tree.probe).await;
    assert_eq!(tether.stats().restarts, 0);
    // And it still does its work: nobody sends anything.
    let mut diary = Diary::of(&tether);
    server.demote();
    diary.until("the demotion", |event| matches!(event, Event::Demoted { .. })).await;
    tether.shutdown().await;
}

#[tokio::test]
async fn a_killed_watcher_is_restarted() {
    let (tether, _server, _listener) = killing(|tree| &tree.watcher).await;
    // And it still does its work.
    let before = tether.stats().lookups;
    within(PATIENCE, "another lookup", async {
        while tether.stats().lookups == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    tether.shutdown().await;
}

/// Its link ends while there is nobody who could hear of it.
#[tokio::test]
async fn a_link_that_ends_together_with_its_connection_actor_is_replaced() {
    let (server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let mut diary = Diary::of(&tether);
    Tree::of(&tether).connection.kill();
    server.kill_connections();
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    let mut handle = tether.handle();
    handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
    tether.shutdown().await;
}

/// One that dies over and over is restarted at a pace, and the link serves all the while.
#[tokio::test]
async fn a_connection_that_keeps_dying_does_not_make_the_supervisor_spin() {
    let (_server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let epoch = tether.status().borrow().epoch;
    let load = Load::start(&tether.handle(), 4);
    let stop = Instant::now() + Duration::from_secs(1);
    while Instant::now() < stop {
        for child in tether.actor().get_children().into_iter().filter(|child| !child.get_children().is_empty()) {
            child.kill();
        }
        tokio::task::yield_now().await;
    }
    // 0, 10, 20, 40, ... 640 ms between them: some eight in a second.
    let restarts = tether.stats().restarts;
    assert!((3..=12).contains(&restarts), "{restarts} restarts in a second");
    load.go_on_for(20).await;
    load.finish().await.assert_none_failed();
    assert_eq!(tether.status().borrow().epoch, epoch);
    tether.shutdown().await;
}

/// What an application brings along, and what panics.
struct Faulty {
    is_faulty: Arc<AtomicBool>,
    addr: SocketAddr,
}

impl Faulty {
    fn panic_if_faulty(&self) {
        assert!(!self.is_faulty.load(Ordering::Relaxed), "a test asked for it");
    }
}

impl Resolve for Faulty {
    fn resolve(
        &self,
        _query: Query,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send>> {
        // In the watcher itself, and not in its task.
        self.panic_if_faulty();
        let addr = self.addr;
        Box::pin(async move { Ok(vec![addr]) })
    }
}

impl Transport for Faulty {
    fn connect(&self, _address: &Address) -> std::pin::Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        self.panic_if_faulty();
        let addr = self.addr;
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}

#[tokio::test]
async fn a_resolver_that_panics_costs_no_command() {
    let (_server, listener) = fake().await;
    let is_faulty = Arc::new(AtomicBool::new(false));
    let resolver = Faulty { is_faulty: is_faulty.clone(), addr: listener.addr() };
    let mut config = Config::new("redis.test", listener.addr().port());
    config.resolve.interval = Duration::from_millis(50);
    let tether = Tether::builder(config).resolver(resolver).start().await.expect("a valid configuration");
    let before = tether.ready(PATIENCE).await.expect("the server is well");
    let load = Load::start(&tether.handle(), 8);
    let watcher = Tree::of(&tether).watcher.get_id();
    is_faulty.store(true, Ordering::Relaxed);
    Tree::after(&tether, |tree| tree.watcher.get_id() != watcher).await;
    load.go_on_for(200).await;
    is_faulty.store(false, Ordering::Relaxed);
    let lookups = tether.stats().lookups;
    within(PATIENCE, "a lookup that is answered", async {
        while tether.stats().lookups == lookups {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    load.finish().await.assert_none_failed();
    assert_eq!(tether.status().borrow().epoch, before.epoch);
    tether.shutdown().await;
}

#[tokio::test]
async fn a_transport_that_panics_is_a_dial_that_failed() {
    let (_server, listener) = fake().await;
    let is_faulty = Arc::new(AtomicBool::new(true));
    let transport = Faulty { is_faulty: is_faulty.clone(), addr: listener.addr() };
    let tether = Tether::builder(config(listener.addr())).transport(transport).start().await.expect("valid");
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    is_faulty.store(false, Ordering::Relaxed);
    tether.ready(PATIENCE).await.expect("the server is well");
    tether.shutdown().await;
}

#[tokio::test]
async fn a_supervisor_that_dies_alone_fails_held_commands_at_once() {
    let (server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let mut diary = Diary::of(&tether);
    server.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    let held: Vec<_> = (0..8)
        .map(|_| {
            let mut handle = tether.handle();
            tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await })
        })
        .collect();
    within(PATIENCE, "the commands to be held", async {
        while tether.stats().held_now < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    tether.actor().kill();
    let killed = Instant::now();
    for command in held {
        let error = within(AT_ONCE, "a held command", command).await.expect("no panic").expect_err("stopped");
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
        assert!(error.to_string().contains("stopped"), "{error}");
    }
    assert!(killed.elapsed() < AT_ONCE);
    assert_eq!(reach(&tether, Phase::Stopped).await.epoch, None);
    assert!(matches!(tether.reconnect(), Err(ReconnectError::Stopped(_))));
    assert!(tether.pin().is_err() && tether.unpin().is_err());
    // And no later one waits, either.
    let error = within(AT_ONCE, "a later command", tether.handle().get::<_, String>("key")).await.expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    within(AT_ONCE, "a shutdown of what is over", tether.shutdown()).await;
}

/// With a link that serves: what is in flight ends, too, and the socket is closed.
#[tokio::test]
async fn a_supervisor_that_dies_alone_takes_its_link_along() {
    let (server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let mut handle = tether.handle();
    let blocked = tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("it arrives");
    tether.actor().kill();
    let error = within(AT_ONCE, "the pop", blocked).await.expect("no panic").expect_err("its link is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
    reach(&tether, Phase::Stopped).await;
}

/// An actor of an application that has a tether of its own.
struct App;

enum AppMsg {
    Tether(Event),
    End,
}

impl From<Event> for AppMsg {
    fn from(event: Event) -> AppMsg {
        AppMsg::Tether(event)
    }
}

/// What the application's actor was told.
#[derive(Debug)]
enum Told {
    Event(Event),
    ChildEnded,
}

struct AppArgs {
    config: Config,
    told: mpsc::UnboundedSender<Told>,
    started: mpsc::UnboundedSender<Tether>,
}

impl Actor for App {
    type Msg = AppMsg;
    type State = mpsc::UnboundedSender<Told>;
    type Arguments = AppArgs;

    async fn pre_start(&self, myself: ActorRef<AppMsg>, args: AppArgs) -> Result<Self::State, ActorProcessingErr> {
        let tether = Tether::spawn_linked(args.config, myself.get_cell()).await?;
        tether.forward_events(myself);
        args.started.send(tether)?;
        Ok(args.told)
    }

    async fn handle(
        &self,
        myself: ActorRef<AppMsg>,
        message: AppMsg,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AppMsg::Tether(event) => told.send(Told::Event(event))?,
            AppMsg::End => myself.stop(None),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<AppMsg>,
        event: SupervisionEvent,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) | SupervisionEvent::ActorFailed(..) = event {
            told.send(Told::ChildEnded)?;
        }
        Ok(())
    }
}

struct AppUnderTest {
    app: ActorRef<AppMsg>,
    tether: Tether,
    told: mpsc::UnboundedReceiver<Told>,
}

async fn app(config: Config) -> AppUnderTest {
    let (told, told_here) = mpsc::unbounded_channel();
    let (started, mut started_here) = mpsc::unbounded_channel();
    let (app, _) = Actor::spawn(None, App, AppArgs { config, told, started }).await.expect("the application starts");
    AppUnderTest { app, tether: started_here.recv().await.expect("its tether starts"), told: told_here }
}

impl AppUnderTest {
    async fn until(&mut self, what: &str, is_it: impl Fn(&Told) -> bool) {
        within(PATIENCE, what, async {
            loop {
                let told = self.told.recv().await.unwrap_or_else(|| panic!("the application ended before {what}"));
                if is_it(&told) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn events_come_as_the_applications_own_messages() {
    let (server, listener) = fake().await;
    let mut app = app(config(listener.addr())).await;
    app.until("the link", |told| matches!(told, Told::Event(Event::Connected { .. }))).await;
    server.kill_connections();
    app.until("its loss", |told| matches!(told, Told::Event(Event::Lost { .. }))).await;
    app.until("another link", |told| matches!(told, Told::Event(Event::Connected { .. }))).await;
    app.tether.shutdown().await;
    app.until("the end", |told| matches!(told, Told::ChildEnded)).await;
    app.app.stop(None);
}

#[tokio::test]
async fn a_tether_ends_with_the_applications_actor() {
    let (server, listener) = fake().await;
    let mut app = app(config(listener.addr())).await;
    app.until("the link", |told| matches!(told, Told::Event(Event::Connected { .. }))).await;
    app.app.send_message(AppMsg::End).expect("it lives");
    reach(&app.tether, Phase::Stopped).await;
    let error = within(AT_ONCE, "a command", app.tether.handle().get::<_, String>("key")).await.expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
}

#[tokio::test]
async fn a_tether_ends_with_an_applications_actor_that_is_killed() {
    let (server, listener) = fake().await;
    let mut app = app(config(listener.addr())).await;
    app.until("the link", |told| matches!(told, Told::Event(Event::Connected { .. }))).await;
    app.app.kill();
    reach(&app.tether, Phase::Stopped).await;
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
}

/// Nobody would ever end it.
#[tokio::test]
async fn a_tether_does_not_start_under_an_actor_that_has_ended() {
    let (_server, listener) = fake().await;
    let ended = app(config(listener.addr())).await.app;
    ended.stop_and_wait(None, Some(PATIENCE)).await.expect("it ends");
    match Tether::spawn_linked(config(listener.addr()), ended.get_cell()).await {
        Err(error) => assert!(matches!(error, StartError::Spawn(_)), "{error}"),
        Ok(tether) => drop(reach(&tether, Phase::Stopped).await),
    }
}

/// It is told of the end, and goes on.
#[tokio::test]
async fn an_application_hears_of_a_tether_that_was_killed() {
    let (_server, listener) = fake().await;
    let mut app = app(config(listener.addr())).await;
    app.until("the link", |told| matches!(told, Told::Event(Event::Connected { .. }))).await;
    app.tether.actor().kill();
    app.until("its end", |told| matches!(told, Told::ChildEnded)).await;
    reach(&app.tether, Phase::Stopped).await;
    app.app.stop(None);
}

/// A subscriber whose conversion panics loses its subscription, and nobody else anything.
#[tokio::test]
async fn a_conversion_that_panics_ends_only_its_own_subscription() {
    struct Touchy;
    struct TouchyMsg;
    impl From<Event> for TouchyMsg {
        fn from(_: Event) -> TouchyMsg {
            panic!("a test asked for it")
        }
    }
    impl Actor for Touchy {
        type Msg = TouchyMsg;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<TouchyMsg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }
    let (server, listener) = fake().await;
    let tether = connected(listener.addr()).await;
    let (touchy, _) = Actor::spawn(None, Touchy, ()).await.expect("it starts");
    tether.forward_events(touchy.clone());
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("another link", |event| matches!(event, Event::Connected { .. })).await;
    assert_eq!(tether.stats().restarts, 0, "no actor of ours died of it");
    touchy.stop(None);
    tether.shutdown().await;
}
