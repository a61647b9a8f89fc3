//! Where ids and counters are kept on the servers, and how they are read back: the whole of one server, or what it has
//! beyond a mark. The lists grow at one end only, so that what was executed after a mark is what lies beyond it.

use redis_tether_testkit::{Reply, Server};

use crate::calls::{COUNTERS, Id};
use crate::judge::Branch;

/// So many values are read at a time.
const PAGE: i64 = 5_000;

/// A list of ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct List {
    pub(crate) key: &'static str,
    /// What appends to it.
    pub(crate) command: &'static str,
}

/// One that grows at its end and one that grows at its head.
const LISTS: [List; 2] = [List { key: "forward", command: "RPUSH" }, List { key: "backward", command: "LPUSH" }];

/// The list for this id: the parts of one call go to both in turn.
pub(crate) fn list_of(id: Id) -> List {
    let [even, odd] = LISTS;
    if (id.number + id.part).is_multiple_of(2) { even } else { odd }
}

/// The key of this counter.
pub(crate) fn counter(number: usize) -> String {
    format!("counter:{number}")
}

/// How much a server held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    lists: [i64; LISTS.len()],
    counters: [i64; COUNTERS],
}

/// What this server holds now.
pub(crate) async fn mark(server: &Server) -> Mark {
    marked_by(server, None).await
}

/// Promotes it and says what it held then, in one step: nobody can write in between.
pub(crate) async fn promote(server: &Server) -> Mark {
    marked_by(server, Some(&["REPLICAOF", "NO", "ONE"])).await
}

async fn marked_by(server: &Server, before: Option<&[&str]>) -> Mark {
    let queries = LISTS.map(|list| ["LLEN".to_owned(), list.key.to_owned()]).into_iter();
    let queries = queries.chain((0..COUNTERS).map(|number| ["GET".to_owned(), counter(number)]));
    ask(server, &["MULTI"]).await;
    if let Some(before) = before {
        ask(server, before).await;
    }
    for query in queries {
        ask(server, &query.each_ref().map(String::as_str)).await;
    }
    let Reply::Array(replies) = ask(server, &["EXEC"]).await else { panic!("no array from EXEC") };
    let numbers = replies.into_iter().skip(usize::from(before.is_some())).map(|reply| number(&reply));
    let numbers: Vec<i64> = numbers.collect();
    let mut mark = Mark::default();
    let (lists, counters) = numbers.split_at(LISTS.len());
    mark.lists.copy_from_slice(lists);
    mark.counters.copy_from_slice(counters);
    mark
}

/// What this server has executed since `mark`, or its primary for it. Nobody may write to it meanwhile.
pub(crate) async fn since(server: &Server, mark: Mark) -> Branch {
    let now = self::mark(server).await;
    let mut branch = Branch::default();
    for (index, list) in LISTS.iter().enumerate() {
        let (held, holds) = (mark.lists[index], now.lists[index]);
        assert!(held <= holds, "{} has {holds} values in {}, and its replica had {held}", server.addr(), list.key);
        let beyond = if list.command == "RPUSH" { held..holds } else { 0..holds - held };
        read(server, list.key, beyond, &mut branch.ids).await;
    }
    for (index, counted) in branch.counted.iter_mut().enumerate() {
        *counted = now.counters[index] - mark.counters[index];
    }
    branch
}

async fn read(server: &Server, key: &str, range: std::ops::Range<i64>, ids: &mut Vec<Id>) {
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + PAGE);
        let query = ["LRANGE", key, &from.to_string(), &(to - 1).to_string()];
        let Reply::Array(values) = ask(server, &query).await else { panic!("no array from LRANGE") };
        assert_eq!(i64::try_from(values.len()), Ok(to - from), "the list was changed while it was read");
        ids.extend(values.iter().map(|value| id(value).unwrap_or_else(|wrong| panic!("{key}: {wrong}"))));
        from = to;
    }
}

fn id(value: &Reply) -> Result<Id, String> {
    value.text().ok_or("not a text")?.parse()
}

/// A count; none is zero.
fn number(reply: &Reply) -> i64 {
    match reply {
        Reply::Nil => 0,
        reply => reply.text().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {reply:?}")),
    }
}

async fn ask(server: &Server, args: &[&str]) -> Reply {
    server.command(args).await.unwrap_or_else(|error| panic!("{}: {error}", args.join(" ")))
}
