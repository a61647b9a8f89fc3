//! How a tether lives among an application's own actors: events come as their messages, it ends with the actor above it, and
//! its own end waits for nobody: neither for an actor that is busy, nor for the one that asked for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, Outcome, OutcomeExt, Phase, StartError, Tether};
use redis_tether_testkit::FakeServer;
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::watch::{AT_ONCE, Diary, PATIENCE, reach, within};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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
    let tether = connected(config(listener.addr())).await;
    let (touchy, _) = Actor::spawn(None, Touchy, ()).await.expect("it starts");
    tether.forward_events(touchy.clone());
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("another link", |event| matches!(event, Event::Connected { .. })).await;
    assert_eq!(tether.stats().restarts, 0, "no actor of ours died of it");
    touchy.stop(None);
    tether.shutdown().await;
}

/// An actor with a tether below it that is busy, or ends it itself.
struct Parent;

enum ParentMsg {
    /// Handle nothing else until told.
    BeBusy { begun: oneshot::Sender<()>, until: Arc<Notify> },
    /// Wait for the tether's end, in the handler.
    ShutDown { over: oneshot::Sender<()> },
    /// End, and wait for the tether's end in doing so.
    End { over: oneshot::Sender<()> },
}

struct ParentState {
    tether: Tether,
    over: Option<oneshot::Sender<()>>,
}

impl Actor for Parent {
    type Msg = ParentMsg;
    type State = ParentState;
    type Arguments = (Config, oneshot::Sender<Tether>);

    async fn pre_start(
        &self,
        myself: ActorRef<ParentMsg>,
        (config, started): Self::Arguments,
    ) -> Result<ParentState, ActorProcessingErr> {
        let tether = Tether::spawn_linked(config, myself.get_cell()).await?;
        started.send(tether.clone()).map_err(|_| "the test is over")?;
        Ok(ParentState { tether, over: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<ParentMsg>,
        message: ParentMsg,
        state: &mut ParentState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ParentMsg::BeBusy { begun, until } => {
                begun.send(()).map_err(|()| "the test is over")?;
                until.notified().await;
            }
            ParentMsg::ShutDown { over } => {
                state.tether.shutdown().await;
                over.send(()).map_err(|()| "the test is over")?;
            }
            ParentMsg::End { over } => {
                state.over = Some(over);
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<ParentMsg>, state: &mut ParentState) -> Result<(), ActorProcessingErr> {
        if let Some(over) = state.over.take() {
            state.tether.shutdown().await;
            over.send(()).map_err(|()| "the test is over")?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ParentMsg>,
        _event: SupervisionEvent,
        _state: &mut ParentState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A shutdown that hangs is not given up for a minute, so that these tests see it hang.
fn patient(addr: SocketAddr) -> Config {
    let mut config = config(addr);
    config.drain_timeout = Duration::from_secs(60);
    config
}

async fn parent(config: Config) -> (ActorRef<ParentMsg>, Tether) {
    let (started, tether) = oneshot::channel();
    let (parent, _) = Actor::spawn(None, Parent, (config, started)).await.expect("it starts");
    let tether = tether.await.expect("its tether starts");
    tether.ready(PATIENCE).await.expect("the server is well");
    (parent, tether)
}

/// A parent that is in the middle of a message, until the second value says that it may go on.
async fn busy_parent(config: Config) -> (ActorRef<ParentMsg>, Arc<Notify>, Tether) {
    let (parent, tether) = parent(config).await;
    let (begun, has_begun) = oneshot::channel();
    let until = Arc::new(Notify::new());
    parent.send_message(ParentMsg::BeBusy { begun, until: until.clone() }).expect("it lives");
    within(PATIENCE, "the parent to be busy", has_begun).await.expect("it lives");
    (parent, until, tether)
}

async fn has_stopped(tether: &Tether, server: &FakeServer) {
    assert_eq!(tether.status().borrow().phase, Phase::Stopped);
    let error = within(PATIENCE, "a command", tether.handle().get::<_, String>("key")).await.expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
}

#[tokio::test]
async fn a_parent_may_wait_for_the_shutdown_in_a_handler() {
    let (server, listener) = fake().await;
    let (parent, tether) = parent(patient(listener.addr())).await;
    let (over, is_over) = oneshot::channel();
    parent.send_message(ParentMsg::ShutDown { over }).expect("it lives");
    within(PATIENCE, "the shutdown", is_over).await.expect("it was waited for");
    has_stopped(&tether, &server).await;
    parent.stop(None);
}

#[tokio::test]
async fn a_parent_may_wait_for_the_shutdown_when_it_stops() {
    let (server, listener) = fake().await;
    let (parent, tether) = parent(patient(listener.addr())).await;
    let (over, is_over) = oneshot::channel();
    parent.send_message(ParentMsg::End { over }).expect("it lives");
    within(PATIENCE, "the shutdown", is_over).await.expect("it was waited for");
    has_stopped(&tether, &server).await;
}

#[tokio::test]
async fn a_busy_parent_does_not_hold_a_shutdown_up() {
    let (server, listener) = fake().await;
    let (parent, until, tether) = busy_parent(patient(listener.addr())).await;
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    has_stopped(&tether, &server).await;
    until.notify_one();
    parent.stop(None);
}

/// By ractor's own means: what is in flight is not waited for.
async fn ends_under_a_busy_parent(end: impl FnOnce(&Tether)) {
    let (server, listener) = fake().await;
    let (parent, until, tether) = busy_parent(patient(listener.addr())).await;
    let mut handle = tether.handle();
    let blocked = tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("it arrives");
    end(&tether);
    let error = within(PATIENCE, "the pop", blocked).await.expect("no panic").expect_err("its link is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    reach(&tether, Phase::Stopped).await;
    has_stopped(&tether, &server).await;
    within(PATIENCE, "a shutdown of what is over", tether.shutdown()).await;
    until.notify_one();
    parent.stop(None);
}

#[tokio::test]
async fn a_tether_that_is_stopped_ends_under_a_busy_parent() {
    ends_under_a_busy_parent(|tether| tether.actor().stop(None)).await;
}

#[tokio::test]
async fn a_tether_that_is_killed_ends_under_a_busy_parent() {
    ends_under_a_busy_parent(|tether| tether.actor().kill()).await;
}

#[tokio::test]
async fn a_tethers_token_ends_it_under_a_busy_parent() {
    let (server, listener) = fake().await;
    let (parent, until, tether) = busy_parent(patient(listener.addr())).await;
    let token = CancellationToken::new();
    let linked = Tether::builder(config(listener.addr())).supervisor(parent.get_cell()).cancelled_by(token.clone());
    let linked = linked.start().await.expect("a valid configuration");
    linked.ready(PATIENCE).await.expect("the server is well");
    token.cancel();
    reach(&linked, Phase::Stopped).await;
    assert_eq!(tether.status().borrow().phase, Phase::Connected, "the other one's token says nothing to it");
    tether.shutdown().await;
    has_stopped(&tether, &server).await;
    until.notify_one();
    parent.stop(None);
}
