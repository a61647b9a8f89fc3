//! What goes to several shards: commands whose keys are on several, commands for all of them, and pipelines. Each becomes pieces that
//! one shard can take, which go round by round (`pieces/round.rs`) until each has its answer; what was asked of one command and
//! answered by several is merged in the end.

mod round;

use std::borrow::Cow;
use std::sync::Arc;

use redis::{Arg, Cmd, Pipeline, RedisError, RedisResult, Value};
use redis_tether_core::cluster::{Merge, Piece as Part, Route, Slot, route};

use self::round::Round;
use super::handle::{ClusterHandle, To, words};
use super::journey::Journey;
use super::layout::Layout;
use super::merging::{merge, needs_all};
use super::scan;
use crate::handle::request::{Many, One, Request};
use crate::outcome::{Outcome, Reason};

/// What one shard is asked.
struct Piece<'a> {
    cmd: Cow<'a, Cmd>,
    /// By its key, or by its shard.
    home: To,
    /// Where it goes in this round.
    to: To,
    answer: Option<Value>,
}

impl<'a> Piece<'a> {
    fn new(cmd: Cow<'a, Cmd>, home: To) -> Piece<'a> {
        Piece { cmd, home, to: home, answer: None }
    }
}

/// How the answer of a command comes about.
enum Whole {
    /// It is that of a piece.
    Plain,
    Merged {
        how: Merge,
        count: usize,
        places: Vec<Vec<usize>>,
        names: Vec<String>,
    },
}

/// A command, and where it goes.
type Routed<'a> = (&'a Cmd, Route);

/// What was taken apart.
#[derive(Default)]
struct Taken<'a> {
    wholes: Vec<Whole>,
    pieces: Vec<Piece<'a>>,
    /// Some are for every shard that was known then.
    is_for_all: bool,
}

impl ClusterHandle {
    /// A command that goes to all shards, or whose keys are in several slots.
    pub(super) async fn in_pieces(&mut self, cmd: &Cmd, route: Route) -> RedisResult<Value> {
        let (wholes, answers) = self.answered(&[(cmd, route)]).await?;
        let Some(whole) = wholes.into_iter().next() else { return Ok(Value::Nil) };
        let is_refused = |answer: &&Value| matches!(answer, Value::ServerError(_));
        let refused = answers.iter().filter(is_refused).count();
        if whole.needs_all() && refused > 0 && refused < answers.len() {
            let cause = answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) => Some(error.to_string()),
                _ => None,
            });
            return Err(self.common.fail_with(Outcome::Ambiguous, Reason::PartlyDone, cause));
        }
        whole.answer(&mut answers.into_iter())
    }

    /// `SCAN`: the upper bits of its cursor say which shard it is at.
    pub(super) async fn scan(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let Some((cursor, words)) = scan::parse(cmd) else { return self.send(cmd, To::Any).await };
        let mut journey = Journey::new(self.policy);
        let any = self.place(To::Any, &mut journey, || One(cmd).bytes()).await?;
        let shards = || self.roster.layout.numbers_with_slots();
        let shard = scan::shard(cursor).or_else(|| shards().min()).unwrap_or(any);
        let reply = match self.send_on(&scan::command(&words, cursor), To::Shard(shard), journey).await {
            Err(error) if self.is_of_a_shard_that_is_gone(&error) => {
                return Err(self.common.fail_with(Outcome::NotSent, Reason::ScanLost, None));
            }
            reply => reply?,
        };
        let next = self.roster.layout.numbers_with_slots().filter(|next| *next > shard).min();
        scan::read(reply, shard, next).map_err(|cause| {
            let cause = Some(cause.to_owned());
            self.common.fail_with(Outcome::Refused, Reason::OfOneNode, cause)
        })
    }

    /// The answers of a pipeline, in its order.
    pub(super) async fn pieces_of(&mut self, request: Many<'_>) -> RedisResult<Vec<Value>> {
        let Many { pipeline, offset, .. } = request;
        let routed: Vec<Routed<'_>> = pipeline.cmd_iter().map(|cmd| (cmd, route(words(cmd)))).collect();
        if routed.iter().any(|(_, route)| matches!(route, Route::OfOneNode | Route::Scan)) {
            return Err(self.common.fail(Outcome::NotSent, Reason::OfOneNode));
        }
        if pipeline.is_transaction() || spells_a_transaction(pipeline) {
            return match slot_of_all(&routed) {
                Ok(slot) => self.together(request, slot.map_or(To::Any, To::Slot)).await,
                Err(CrossSlot) => Err(cross_slot()),
            };
        }
        let (wholes, answers) = self.answered(&routed).await?;
        let mut answers = answers.into_iter();
        let values: RedisResult<Vec<Value>> = wholes.into_iter().map(|whole| whole.answer(&mut answers)).collect();
        Ok(values?.into_iter().skip(offset).collect())
    }

    /// The answers of all pieces.
    async fn answered(&mut self, routed: &[Routed<'_>]) -> RedisResult<(Vec<Whole>, Vec<Value>)> {
        let mut journey = Journey::new(self.policy);
        loop {
            let Taken { wholes, pieces, .. } = self.taken(routed, &mut journey).await?;
            match self.run_pieces(pieces, &mut journey).await {
                // A shard that all are asked for is gone, and nothing has been done: they are others now.
                Err(error) if self.is_of_a_shard_that_is_gone(&error) && journey.hop().await => {}
                answers => return Ok((wholes, answers?)),
            }
        }
    }

    /// Takes them apart. What goes to all shards goes to those that there are when everything has somewhere to go.
    async fn taken<'a>(&mut self, routed: &[Routed<'a>], journey: &mut Journey) -> RedisResult<Taken<'a>> {
        loop {
            self.refresh();
            let roster = Arc::clone(&self.roster);
            let taken = Taken::of(routed, &roster.layout);
            if !taken.is_for_all {
                return Ok(taken);
            }
            // Until something is known, nobody can say who all of them are.
            self.place(To::Any, journey, || bytes_of(&taken.pieces)).await?;
            for piece in &taken.pieces {
                match self.place(piece.to, journey, || bytes_of(&taken.pieces)).await {
                    Err(error) if self.is_of_a_shard_that_is_gone(&error) => break,
                    placed => placed?,
                };
            }
            if Arc::ptr_eq(&roster, &self.roster) {
                return Ok(taken);
            }
        }
    }

    /// Runs pieces until each has its answer.
    async fn run_pieces(&mut self, mut pieces: Vec<Piece<'_>>, journey: &mut Journey) -> RedisResult<Vec<Value>> {
        while let Round::GoesOn = self.round(&mut pieces, journey).await? {}
        Ok(pieces.into_iter().map(|piece| piece.answer.unwrap_or(Value::Nil)).collect())
    }
}

impl<'a> Taken<'a> {
    fn of(routed: &[Routed<'a>], layout: &Layout) -> Taken<'a> {
        let mut taken = Taken::default();
        for (cmd, route) in routed {
            let whole = match route {
                Route::Keyed(slot) => taken.plain(cmd, To::Slot(*slot)),
                Route::Any | Route::Scan | Route::OfOneNode => taken.plain(cmd, To::Any),
                Route::Every(how) => taken.for_all(cmd, *how, layout),
                Route::Split(how, parts) => taken.split(cmd, *how, parts),
            };
            taken.wholes.push(whole);
        }
        taken
    }

    fn plain(&mut self, cmd: &'a Cmd, to: To) -> Whole {
        self.pieces.push(Piece::new(Cow::Borrowed(cmd), to));
        Whole::Plain
    }

    fn for_all(&mut self, cmd: &'a Cmd, how: Merge, layout: &Layout) -> Whole {
        self.is_for_all = true;
        let to_each = layout.numbers_with_slots().map(|shard| Piece::new(Cow::Borrowed(cmd), To::Shard(shard)));
        self.pieces.extend(to_each);
        let primaries = layout.groups_with_slots().map(|group| &group.primary);
        let names: Vec<String> = primaries.map(|node| format!("{}:{}", node.host, node.port)).collect();
        Whole::Merged { how, count: names.len(), places: vec![Vec::new(); names.len()], names }
    }

    fn split(&mut self, cmd: &Cmd, how: Merge, parts: &[Part]) -> Whole {
        let words: Vec<&[u8]> = words(cmd).collect();
        for part in parts {
            let mut own = Cmd::new();
            own.arg(words[0]);
            for index in &part.arguments {
                own.arg(words[*index]);
            }
            self.pieces.push(Piece::new(Cow::Owned(own), To::Slot(part.slot)));
        }
        let places = parts.iter().map(|part| part.places.clone()).collect();
        Whole::Merged { how, count: parts.len(), places, names: Vec::new() }
    }
}

impl Whole {
    /// Whether its answer is nothing if one piece has been refused.
    fn needs_all(&self) -> bool {
        !matches!(self, Whole::Merged { how, .. } if !needs_all(*how))
    }

    fn answer(self, answers: &mut impl Iterator<Item = Value>) -> RedisResult<Value> {
        match self {
            Whole::Plain => Ok(answers.next().unwrap_or_default()),
            Whole::Merged { how, count, places, names } => {
                let mut own: Vec<Value> = answers.take(count).collect();
                let error = own.iter().position(|answer| matches!(answer, Value::ServerError(_)));
                if let Some(error) = error.filter(|_| needs_all(how)) {
                    return Ok(own.swap_remove(error));
                }
                let places: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
                merge(how, own, &places, &names)
            }
        }
    }
}

fn bytes_of(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|piece| One(&piece.cmd).bytes()).fold(0, usize::saturating_add)
}

/// `MULTI` among the commands: what is behind it must not be taken apart.
fn spells_a_transaction(pipeline: &Pipeline) -> bool {
    let is_multi =
        |cmd: &Cmd| matches!(cmd.args_iter().next(), Some(Arg::Simple(name)) if name.eq_ignore_ascii_case(b"MULTI"));
    pipeline.cmd_iter().any(is_multi)
}

/// Keys of several slots, which no transaction may have.
struct CrossSlot;

/// The slot of all keys; `None` if there are none.
fn slot_of_all(routed: &[Routed<'_>]) -> Result<Option<Slot>, CrossSlot> {
    let mut common = None;
    for (_, route) in routed {
        match (route, common) {
            (Route::Keyed(slot), Some(other)) if *slot != other => return Err(CrossSlot),
            (Route::Keyed(slot), _) => common = Some(*slot),
            (Route::Split(..), _) => return Err(CrossSlot),
            _ => {}
        }
    }
    Ok(common)
}

/// In the server's words, as it would say.
fn cross_slot() -> RedisError {
    const WORDS: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    match redis::parse_redis_value(WORDS) {
        Ok(Value::ServerError(error)) => error.into(),
        Ok(_) => RedisError::from((redis::ErrorKind::Client, "keys in several slots")),
        Err(error) => error,
    }
}
