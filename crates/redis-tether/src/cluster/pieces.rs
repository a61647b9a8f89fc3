//! What goes to several shards: commands whose keys are on several, commands for all of them, and pipelines. Each becomes pieces that
//! one shard can take; those of one shard leave together, all shards are asked at once, and a piece that is sent elsewhere goes
//! there in the next round. What was asked of one command and answered by several is merged in the end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use redis::{Arg, Cmd, Pipeline, RedisError, RedisResult, Value};
use redis_tether_core::cluster::{Merge, Piece as Part, Route, Slot, route};
use redis_tether_core::reply::{ErrorClass, classify};

use super::handle::{ClusterHandle, Onward, To, words};
use super::journey::Journey;
use super::layout::Number;
use super::merging::merge;
use super::messenger::Messenger;
use super::redirection::Redirection;
use super::scan;
use crate::handle::request::{Many, One, Request};
use crate::outcome::{Outcome, OutcomeExt, Reason};
use crate::question::Fan;

/// What one shard is asked.
struct Piece<'a> {
    cmd: Cow<'a, Cmd>,
    /// By its key, or where that has none.
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
    Refused,
}

/// A piece that goes on, the shard that would not have it, and where that sends it, with the handle that was told
/// so; else it is asked again in a moment.
type Elsewhere = (usize, Number, Option<(Redirection, Messenger)>);

/// How a round ended.
enum Round {
    Answered,
    /// Some pieces go on.
    GoesOn,
}

impl ClusterHandle {
    /// A command that goes to all shards.
    pub(super) async fn everywhere(&mut self, cmd: &Cmd, how: Merge) -> RedisResult<Value> {
        let (mut journey, mut pieces) = (Journey::new(self.policy), Vec::new());
        let whole = self.take_to_all(Cow::Borrowed(cmd), how, &mut journey, &mut pieces).await?;
        self.run_alone(whole, pieces, journey).await
    }

    /// A command whose keys are in several slots.
    pub(super) async fn split(&mut self, cmd: &Cmd, how: Merge, parts: Vec<Part>) -> RedisResult<Value> {
        let mut pieces = Vec::new();
        let whole = take_split(cmd, how, parts, &mut pieces);
        self.run_alone(whole, pieces, Journey::new(self.policy)).await
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
        if pipeline.is_transaction() || spells_a_transaction(pipeline) {
            return match slot_of_all(pipeline) {
                Ok(slot) => self.together(request, slot.map_or(To::Any, To::Slot)).await,
                Err(CrossSlot) => Err(cross_slot()),
            };
        }
        let (mut journey, mut pieces, mut wholes) = (Journey::new(self.policy), Vec::new(), Vec::new());
        for cmd in pipeline.cmd_iter() {
            wholes.push(match route(words(cmd)) {
                Route::Keyed(slot) => take_plain(cmd, To::Slot(slot), &mut pieces),
                Route::Any | Route::Scan => take_plain(cmd, To::Any, &mut pieces),
                Route::Every(how) => self.take_to_all(Cow::Borrowed(cmd), how, &mut journey, &mut pieces).await?,
                Route::Split(how, parts) => take_split(cmd, how, parts, &mut pieces),
                Route::OfOneNode => Whole::Refused,
            });
        }
        if wholes.iter().any(|whole| matches!(whole, Whole::Refused)) {
            return Err(self.common.fail(Outcome::NotSent, Reason::OfOneNode));
        }
        let mut answers = self.run_pieces(pieces, journey).await?.into_iter();
        let values: RedisResult<Vec<Value>> = wholes.into_iter().map(|whole| whole.answer(&mut answers)).collect();
        Ok(values?.into_iter().skip(offset).collect())
    }

    async fn take_to_all<'a>(
        &mut self,
        cmd: Cow<'a, Cmd>,
        how: Merge,
        journey: &mut Journey,
        pieces: &mut Vec<Piece<'a>>,
    ) -> RedisResult<Whole> {
        // Until something is known, nobody can say who all of them are.
        self.place(To::Any, journey, || One(&cmd).bytes()).await?;
        let shards = || self.roster.layout.groups_with_slots();
        let names = shards().map(|group| format!("{}:{}", group.primary.host, group.primary.port));
        let names: Vec<String> = names.collect();
        for group in shards() {
            // By a slot of its own, so that it is followed wherever that goes.
            let slot = group.ranges.first().and_then(|(first, _)| Slot::new(*first));
            pieces.push(Piece::new(cmd.clone(), slot.map_or(To::Any, To::Slot)));
        }
        Ok(Whole::Merged { how, count: names.len(), places: vec![Vec::new(); names.len()], names })
    }

    async fn run_alone(&mut self, whole: Whole, pieces: Vec<Piece<'_>>, journey: Journey) -> RedisResult<Value> {
        let answers = self.run_pieces(pieces, journey).await?;
        let is_refused = |answer: &&Value| matches!(answer, Value::ServerError(_));
        let refused = answers.iter().filter(is_refused).count();
        let needs_all = !matches!(whole, Whole::Merged { how: Merge::One, .. });
        if needs_all && refused > 0 && refused < answers.len() {
            let cause = answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) => Some(error.to_string()),
                _ => None,
            });
            return Err(self.common.fail_with(Outcome::Ambiguous, Reason::PartlyDone, cause));
        }
        whole.answer(&mut answers.into_iter())
    }

    /// Runs pieces until each has its answer.
    async fn run_pieces(&mut self, mut pieces: Vec<Piece<'_>>, mut journey: Journey) -> RedisResult<Vec<Value>> {
        while let Round::GoesOn = self.round(&mut pieces, &mut journey).await? {}
        Ok(pieces.into_iter().map(|piece| piece.answer.unwrap_or(Value::Nil)).collect())
    }

    async fn round(&mut self, pieces: &mut [Piece<'_>], journey: &mut Journey) -> RedisResult<Round> {
        // Those of one shard leave together; one that was sent somewhere for this once leaves alone.
        let mut batches: BTreeMap<(Number, Option<usize>), Vec<usize>> = BTreeMap::new();
        for index in 0..pieces.len() {
            if pieces[index].answer.is_none() {
                let to = pieces[index].to;
                let shard = self.place(to, journey, || bytes_of(pieces)).await;
                let shard = shard.map_err(|error| self.told_of(error, pieces))?;
                let alone = matches!(to, To::Asked(_)).then_some(index);
                batches.entry((shard, alone)).or_default().push(index);
            }
        }
        let mut fan = Fan::wide(batches.len());
        for ((shard, alone), indices) in batches {
            let handle = self.handle_of(shard, journey).map(|handle| handle.clone());
            let mut handle = handle.map_err(|error| self.told_of(error, pieces))?;
            let cmds: Vec<Cmd> = indices.iter().map(|index| (*pieces[*index].cmd).clone()).collect();
            let mut stay = journey.stay.clone();
            fan.add(async move {
                let reply = match (alone, cmds.first()) {
                    (Some(_), Some(cmd)) => handle.asking(&mut stay, cmd).await.map(|value| vec![value]),
                    _ => {
                        let mut pipeline = Pipeline::with_capacity(cmds.len());
                        for cmd in cmds {
                            pipeline.add_command(cmd);
                        }
                        let count = pipeline.len();
                        handle.run(&mut stay, Many { pipeline: &pipeline, offset: 0, count }).await
                    }
                };
                (shard, indices, reply, handle)
            });
        }
        // Each has its own part in it now.
        journey.stay.end();
        let (mut failed, mut gone): (Option<RedisError>, Option<RedisError>) = (None, None);
        let mut elsewhere: Vec<Elsewhere> = Vec::new();
        while let Some((shard, indices, reply, asked)) = fan.next().await {
            match reply {
                Ok(values) => {
                    for (index, value) in indices.into_iter().zip(values) {
                        match Redirection::of_value(&value) {
                            Some(redirection) => elsewhere.push((index, shard, Some((redirection, asked.clone())))),
                            None if is_shortly(&value) => elsewhere.push((index, shard, None)),
                            None => {}
                        }
                        // One that goes on has its last refusal to show, should there be no time for more.
                        pieces[index].answer = Some(value);
                    }
                }
                Err(error) if self.is_of_a_shard_that_is_gone(&error) => {
                    indices.into_iter().for_each(|index| pieces[index].to = pieces[index].home);
                    gone = Some(error);
                }
                // What may have been executed counts for more than what has not.
                Err(error) if error.outcome() == Some(Outcome::Ambiguous) => failed = Some(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        drop(fan);
        if let Some(error) = failed {
            elsewhere.iter().for_each(|(index, ..)| pieces[*index].answer = None);
            return Err(self.told_of(error, pieces));
        }
        let is_gone = gone.is_some();
        if !self.may_go_on(is_gone, &elsewhere, journey).await {
            return gone.map_or(Ok(Round::Answered), |error| Err(self.told_of(error, pieces)));
        }
        if is_gone {
            journey.stay.begin(self.common.keep(bytes_of(pieces)));
        }
        let mut round = if is_gone { Round::GoesOn } else { Round::Answered };
        // What one node says of many pieces is looked into once.
        let mut led: Vec<(Number, Redirection, Option<Onward>)> = Vec::new();
        for (index, shard, redirection) in elsewhere {
            let Piece { home, to, .. } = pieces[index];
            let there = match redirection {
                None => Some(to),
                Some((redirection, asked)) => {
                    let known = led.iter().find(|(from, said, _)| *from == shard && *said == redirection);
                    let there = match known {
                        Some((.., there)) => *there,
                        None => {
                            self.hand_back(shard, asked);
                            let there = self.led(shard, &redirection, journey).await;
                            led.push((shard, redirection, there));
                            there
                        }
                    };
                    there.map(|there| there.or(home))
                }
            };
            if let Some(there) = there {
                (pieces[index].to, pieces[index].answer) = (there, None);
                round = Round::GoesOn;
            }
        }
        Ok(round)
    }

    /// Whether there is time for another round. All pieces that go on do so together: what is waited for, is waited for once.
    async fn may_go_on(&self, is_gone: bool, elsewhere: &[Elsewhere], journey: &mut Journey) -> bool {
        let redirections = elsewhere.iter().filter(|(.., redirection)| redirection.is_some());
        redirections.clone().for_each(|_| self.common.counts.redirections.increment());
        let hops = is_gone || redirections.count() > 0;
        let waits = elsewhere.iter().any(|(.., redirection)| redirection.is_none());
        (!hops || journey.hop().await) && (!waits || journey.wait().await)
    }

    /// The error of the whole, of which some may have been done.
    fn told_of(&self, error: RedisError, pieces: &[Piece<'_>]) -> RedisError {
        let is_done =
            |piece: &Piece<'_>| matches!(&piece.answer, Some(answer) if !matches!(answer, Value::ServerError(_)));
        if error.outcome() == Some(Outcome::Ambiguous) || !pieces.iter().any(is_done) {
            return error;
        }
        self.common.fail_with(Outcome::Ambiguous, Reason::PartlyDone, Some(error.to_string()))
    }
}

impl Whole {
    fn answer(self, answers: &mut impl Iterator<Item = Value>) -> RedisResult<Value> {
        match self {
            Whole::Plain | Whole::Refused => Ok(answers.next().unwrap_or_default()),
            Whole::Merged { how, count, places, names } => {
                let mut own: Vec<Value> = answers.take(count).collect();
                let error = own.iter().position(|answer| matches!(answer, Value::ServerError(_)));
                if let Some(error) = error.filter(|_| how != Merge::One) {
                    return Ok(own.swap_remove(error));
                }
                let places: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
                merge(how, own, &places, &names)
            }
        }
    }
}

fn take_plain<'a>(cmd: &'a Cmd, to: To, pieces: &mut Vec<Piece<'a>>) -> Whole {
    pieces.push(Piece::new(Cow::Borrowed(cmd), to));
    Whole::Plain
}

fn take_split<'a>(cmd: &Cmd, how: Merge, parts: Vec<Part>, pieces: &mut Vec<Piece<'a>>) -> Whole {
    let words: Vec<&[u8]> = words(cmd).collect();
    let count = parts.len();
    let mut places = Vec::with_capacity(count);
    for part in parts {
        let mut own = Cmd::new();
        own.arg(words[0]);
        for index in &part.arguments {
            own.arg(words[*index]);
        }
        pieces.push(Piece::new(Cow::Owned(own), To::Slot(part.slot)));
        places.push(part.places);
    }
    Whole::Merged { how, count, places, names: Vec::new() }
}

fn bytes_of(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|piece| One(&piece.cmd).bytes()).fold(0, usize::saturating_add)
}

/// Keys of one slot are on two nodes for a moment, and nothing ran.
fn is_shortly(value: &Value) -> bool {
    let Value::ServerError(error) = value else { return false };
    matches!(classify(error.code(), error.details()), ErrorClass::Shortly)
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
fn slot_of_all(pipeline: &Pipeline) -> Result<Option<Slot>, CrossSlot> {
    let mut common = None;
    for cmd in pipeline.cmd_iter() {
        match (route(words(cmd)), common) {
            (Route::Keyed(slot), Some(other)) if slot != other => return Err(CrossSlot),
            (Route::Keyed(slot), _) => common = Some(slot),
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
