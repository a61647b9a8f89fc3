//! What each command asks of its link, and that nothing in a command's arguments can make this panic.

use proptest::prelude::*;
use redis::pipe;

use super::*;

fn command(line: &str) -> Cmd {
    let mut cmd = Cmd::new();
    for word in line.split_ascii_whitespace() {
        cmd.arg(word);
    }
    cmd
}

fn demand(line: &str) -> Demand {
    demand_of(&command(line))
}

const FOR_EVER: Demand = Demand::Blocking(None);

fn blocks_for(millis: u64) -> Demand {
    Demand::Blocking(Some(Duration::from_millis(millis)))
}

#[test]
fn blocking_commands_and_their_timeouts() {
    for (line, expected) in [
        ("BLPOP a b 10", blocks_for(10_000)),
        ("blpop a 0.25", blocks_for(250)),
        ("BRPOP a 0", FOR_EVER),
        ("BLMOVE a b LEFT RIGHT 2", blocks_for(2_000)),
        ("BRPOPLPUSH a b 3", blocks_for(3_000)),
        ("BLMPOP 4 1 a LEFT COUNT 10", blocks_for(4_000)),
        ("BZMPOP 0 1 a MIN", FOR_EVER),
        ("BZPOPMIN a 5", blocks_for(5_000)),
        ("BZPOPMAX a 1e300", FOR_EVER),
        ("XREAD BLOCK 1500 STREAMS s $", blocks_for(1_500)),
        ("XREAD COUNT 5 block 0 STREAMS s 0", FOR_EVER),
        ("XREADGROUP GROUP g c BLOCK 20 STREAMS s >", blocks_for(20)),
        ("XREADGROUP GROUP BLOCK 9 BLOCK 20 STREAMS s >", blocks_for(20)),
    ] {
        assert_eq!(demand(line), expected, "{line}");
    }
}

#[test]
fn what_does_not_block() {
    for line in [
        "",
        "GET a",
        "SET a 1",
        "XREAD COUNT 5 STREAMS BLOCK 0",
        "XREADGROUP GROUP BLOCK 9 STREAMS s >",
        "BLPOP a -1",
        "BLPOP a never",
        "BLPOP a NaN",
        "BLPOP",
        "BITCOUNT a 10",
        "BITPOS a 1",
        "BGSAVE 5",
        "XREAD BLOCK",
        "HELLO",
        "CLIENT INFO",
        "CLIENT GETNAME",
        "CLIENT TRACKINGINFO",
        "CLIENT KILL ID 7",
        "CLIENT PAUSE 100 WRITE",
        "CLIENT UNBLOCK 7",
        "SCRIPT LOAD DEBUG",
        "SCRIPT",
        "FAILOVER",
        "REPLICAOF NO ONE",
        "ROLE",
        "CLIENT",
        "WATER 1",
        "SELECTED 1",
        "UNWATCH",
    ] {
        assert_eq!(demand(line), Demand::Plain, "{line}");
    }
}

#[test]
fn acknowledgements() {
    let millis = |millis| Demand::Acknowledgement(Some(Duration::from_millis(millis)));
    assert_eq!(demand("WAIT 1 100"), millis(100));
    assert_eq!(demand("waitaof 1 1 50"), millis(50));
    assert_eq!(demand("WAIT 1 0"), Demand::Acknowledgement(None));
    assert_eq!(demand("WAIT"), millis(0));
}

#[test]
fn what_a_shared_link_cannot_carry() {
    for (line, name) in [
        ("WATCH a", "WATCH"),
        ("select 1", "SELECT"),
        ("SUBSCRIBE c", "SUBSCRIBE"),
        ("PSUBSCRIBE c", "PSUBSCRIBE"),
        ("SSUBSCRIBE c", "SSUBSCRIBE"),
        ("UNSUBSCRIBE", "UNSUBSCRIBE"),
        ("PUNSUBSCRIBE", "PUNSUBSCRIBE"),
        ("SUNSUBSCRIBE", "SUNSUBSCRIBE"),
        ("MONITOR", "MONITOR"),
        ("RESET", "RESET"),
        ("QUIT", "QUIT"),
        ("SYNC", "SYNC"),
        ("PSYNC ? -1", "PSYNC"),
        ("AUTH secret", "AUTH"),
        ("HELLO 3", "HELLO"),
        ("client reply off", "CLIENT REPLY"),
        ("CLIENT TRACKING ON OPTIN", "CLIENT TRACKING"),
        ("client tracking off", "CLIENT TRACKING"),
        ("CLIENT CACHING YES", "CLIENT CACHING"),
        ("CLIENT SETNAME me", "CLIENT SETNAME"),
        ("CLIENT SETINFO LIB-NAME me", "CLIENT SETINFO"),
        ("CLIENT NO-EVICT ON", "CLIENT NO-EVICT"),
        ("client no-touch on", "CLIENT NO-TOUCH"),
        ("CLIENT CAPA redirect", "CLIENT CAPA"),
        ("CLIENT IMPORT-SOURCE ON", "CLIENT IMPORT-SOURCE"),
        ("REPLCONF listening-port 6380", "REPLCONF"),
        ("ASKING", "ASKING"),
        ("readonly", "READONLY"),
        ("READWRITE", "READWRITE"),
        ("script debug yes", "SCRIPT DEBUG"),
        ("MULTI", "MULTI"),
        ("EXEC", "EXEC"),
        ("DISCARD", "DISCARD"),
    ] {
        let Demand::Unshareable(which) = demand(line) else { panic!("{line} was let through") };
        assert_eq!(which.command, name);
        let mut pipeline = pipe();
        pipeline.add_command(command("GET a")).add_command(command(line));
        assert_eq!(demand_of_all(&pipeline), Demand::Unshareable(which), "{line} in a pipeline");
    }
    let mut silent = command("SET a 1");
    silent.set_no_response(true);
    assert_eq!(demand_of(&silent), Demand::Unshareable(&NO_RESPONSE));
}

#[test]
fn pipelines_add_up() {
    let pipeline = |lines: &[&str]| {
        let mut pipeline = pipe();
        for line in lines {
            pipeline.add_command(command(line));
        }
        pipeline
    };
    assert_eq!(demand_of_all(&pipeline(&[])), Demand::Plain);
    assert_eq!(demand_of_all(&pipeline(&["GET a", "BLPOP a 1", "BLPOP b 2"])), blocks_for(3_000));
    assert_eq!(demand_of_all(&pipeline(&["BLPOP a 1", "BLPOP b 0"])), FOR_EVER);
    assert_eq!(demand_of_all(&pipeline(&["BLPOP a 1", "WAIT 1 500"])), blocks_for(1_500));
    assert_eq!(demand_of_all(&pipeline(&["SET a 1", "WAIT 1 500"])), blocks_for(500));
    assert_eq!(demand_of_all(&pipeline(&["WAIT 1 500"])), demand("WAIT 1 500"));
    assert_eq!(demand_of_all(&pipeline(&["MULTI", "SET a 1", "EXEC"])), Demand::Plain);
    assert_eq!(demand_of_all(&pipeline(&["MULTI", "SET a 1", "DISCARD", "MULTI", "EXEC"])), Demand::Plain);
    assert_eq!(demand_of_all(&pipeline(&["MULTI", "SET a 1"])), Demand::Unshareable(&MULTI));
    let mut transaction = pipeline(&["BLPOP a 10"]);
    transaction.atomic();
    assert_eq!(demand_of_all(&transaction), Demand::Plain, "nothing blocks in a transaction");
}

proptest! {
    #[test]
    fn no_command_makes_it_panic(words in proptest::collection::vec("[A-Za-z]{0,12}|[0-9.eE+-]{0,24}|\\PC{0,8}", 0..8)) {
        let mut cmd = Cmd::new();
        for word in &words {
            cmd.arg(word);
        }
        let _ = demand_of(&cmd);
        let mut pipeline = pipe();
        pipeline.add_command(cmd.clone()).add_command(cmd);
        let _ = demand_of_all(&pipeline);
    }
}
