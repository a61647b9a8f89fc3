//! One round of pieces: those of one shard leave together, all shards are asked at once, and what becomes of each piece is seen to
//! when all have answered. What is waited for before the next round, is waited for once.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use redis_tether_core::reply::{ErrorClass, classify};

use super::{Piece, bytes_of};
use crate::cluster::handle::{ClusterHandle, Onward, To};
use crate::cluster::journey::Journey;
use crate::cluster::layout::Number;
use crate::cluster::messenger::Messenger;
use crate::cluster::redirection::Redirection;
use crate::handle::request::Many;
use crate::outcome::{Outcome, OutcomeExt, Reason};
use crate::question::Fan;
use crate::room::Stay;

/// How a round ended.
pub(super) enum Round {
    Answered,
    /// Some pieces go on.
    GoesOn,
}

/// Which pieces leave together, by their shard. One that was sent somewhere for this once leaves alone, and is named.
type Batches = BTreeMap<(Number, Option<usize>), Vec<usize>>;

/// What a shard said to those that left together, and the handle that was told so.
struct Answered {
    shard: Number,
    indices: Vec<usize>,
    reply: RedisResult<Vec<Value>>,
    messenger: Messenger,
}

/// What a round has not answered.
#[derive(Default)]
struct Rest {
    failed: Option<RedisError>,
    /// Of a shard that is gone: its pieces go where they belong now.
    gone: Option<RedisError>,
    elsewhere: Vec<Elsewhere>,
}

/// A piece that goes on.
struct Elsewhere {
    index: usize,
    /// The shard that would not have it.
    from: Number,
    /// Where that sends it, with the handle that was told so; else it is asked again in a moment.
    said: Option<(Redirection, Messenger)>,
}

/// What came of what a shard said, once for all pieces.
type Ways = Vec<(Number, Redirection, Option<Onward>)>;

impl ClusterHandle {
    pub(super) async fn round(&mut self, pieces: &mut [Piece<'_>], journey: &mut Journey) -> RedisResult<Round> {
        let batches = self.batches(pieces, journey).await;
        let batches = batches.map_err(|error| self.told_of(error, pieces))?;
        let answered = self.sent(batches, pieces, journey).await;
        let answered = answered.map_err(|error| self.told_of(error, pieces))?;
        let rest = self.sorted(answered, pieces);
        self.go_on(rest, pieces, journey).await
    }

    /// All of them by what is known at one moment, which may have come while one was waited for.
    async fn batches(&mut self, pieces: &[Piece<'_>], journey: &mut Journey) -> RedisResult<Batches> {
        loop {
            self.refresh();
            let roster = Arc::clone(&self.roster);
            let mut batches = Batches::new();
            for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.answer.is_none()) {
                let shard = self.place(piece.to, journey, || bytes_of(pieces)).await?;
                let alone = matches!(piece.to, To::Asked(_)).then_some(index);
                batches.entry((shard, alone)).or_default().push(index);
            }
            if Arc::ptr_eq(&roster, &self.roster) {
                return Ok(batches);
            }
        }
    }

    async fn sent(
        &mut self,
        batches: Batches,
        pieces: &[Piece<'_>],
        journey: &mut Journey,
    ) -> RedisResult<Vec<Answered>> {
        let mut fan = Fan::wide(batches.len());
        for ((shard, alone), indices) in batches {
            let mut messenger = self.handle_of(shard, journey)?.clone();
            let cmds: Vec<Cmd> = indices.iter().map(|index| (*pieces[*index].cmd).clone()).collect();
            let mut stay = journey.stay.clone();
            fan.add(async move {
                let reply = match (alone, cmds.first()) {
                    (Some(_), Some(cmd)) => messenger.asking(&mut stay, cmd).await.map(|value| vec![value]),
                    _ => together(&mut messenger, &mut stay, cmds).await,
                };
                Answered { shard, indices, reply, messenger }
            });
        }
        // Each has its own part in it now.
        journey.stay.end();
        let mut answered = Vec::new();
        while let Some(one) = fan.next().await {
            answered.push(one);
        }
        Ok(answered)
    }

    /// Gives each piece its answer. One that goes on has its last refusal to show, should there be no time for more.
    fn sorted(&self, answered: Vec<Answered>, pieces: &mut [Piece<'_>]) -> Rest {
        let mut rest = Rest::default();
        for Answered { shard: from, indices, reply, messenger } in answered {
            match reply {
                Ok(values) => {
                    for (index, value) in indices.into_iter().zip(values) {
                        let redirection = Redirection::of_value(&value);
                        if redirection.is_some() || is_shortly(&value) {
                            let said = redirection.map(|redirection| (redirection, messenger.clone()));
                            rest.elsewhere.push(Elsewhere { index, from, said });
                        }
                        pieces[index].answer = Some(value);
                    }
                }
                Err(error) if self.is_of_a_shard_that_is_gone(&error) => {
                    indices.into_iter().for_each(|index| pieces[index].to = pieces[index].home);
                    rest.gone = Some(error);
                }
                // What may have been executed counts for more than what has not.
                Err(error) if error.outcome() == Some(Outcome::Ambiguous) => rest.failed = Some(error),
                Err(error) => rest.failed = rest.failed.or(Some(error)),
            }
        }
        rest
    }

    /// Has those go on that can.
    async fn go_on(&mut self, rest: Rest, pieces: &mut [Piece<'_>], journey: &mut Journey) -> RedisResult<Round> {
        if let Some(error) = rest.failed {
            rest.elsewhere.iter().for_each(|piece| pieces[piece.index].answer = None);
            return Err(self.told_of(error, pieces));
        }
        let is_gone = rest.gone.is_some();
        if !self.may_go_on(is_gone, &rest.elsewhere, journey).await {
            return rest.gone.map_or(Ok(Round::Answered), |error| Err(self.told_of(error, pieces)));
        }
        if is_gone {
            self.keep(journey, bytes_of(pieces));
        }
        let mut round = if is_gone { Round::GoesOn } else { Round::Answered };
        let mut ways = Ways::new();
        for Elsewhere { index, from, said } in rest.elsewhere {
            let Piece { home, to, .. } = pieces[index];
            let there = match said {
                None => Some(to),
                Some(said) => self.way(from, said, &mut ways, journey).await.map(|there| there.or(home)),
            };
            if let Some(there) = there {
                (pieces[index].to, pieces[index].answer) = (there, None);
                round = Round::GoesOn;
            }
        }
        Ok(round)
    }

    /// Whether there is time for another round.
    async fn may_go_on(&self, is_gone: bool, elsewhere: &[Elsewhere], journey: &mut Journey) -> bool {
        let redirections = elsewhere.iter().filter(|piece| piece.said.is_some());
        redirections.clone().for_each(|_| self.common.counts.redirections.increment());
        let hops = is_gone || redirections.count() > 0;
        let waits = elsewhere.iter().any(|piece| piece.said.is_none());
        (!hops || journey.hop().await) && (!waits || journey.wait().await)
    }

    /// What one node says of many pieces is looked into once.
    async fn way(
        &mut self,
        from: Number,
        (redirection, messenger): (Redirection, Messenger),
        ways: &mut Ways,
        journey: &mut Journey,
    ) -> Option<Onward> {
        self.heed(&redirection);
        let known = ways.iter().find(|(shard, said, _)| *shard == from && said.leads_as(&redirection));
        if let Some((.., there)) = known {
            return *there;
        }
        self.hand_back(from, messenger);
        let there = self.led(from, &redirection, journey).await;
        ways.push((from, redirection, there));
        there
    }

    /// The error of the whole, of which some may have been done.
    fn told_of(&self, error: RedisError, pieces: &[Piece<'_>]) -> RedisError {
        let is_done = |piece: &Piece<'_>| piece.answer.as_ref().is_some_and(may_have_run);
        if error.outcome() == Some(Outcome::Ambiguous) || !pieces.iter().any(is_done) {
            return error;
        }
        self.common.fail_with(Outcome::Ambiguous, Reason::PartlyDone, Some(error.to_string()))
    }
}

async fn together(messenger: &mut Messenger, stay: &mut Stay, cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
    let mut pipeline = Pipeline::with_capacity(cmds.len());
    for cmd in cmds {
        pipeline.add_command(cmd);
    }
    let count = pipeline.len();
    messenger.run(stay, Many { pipeline: &pipeline, offset: 0, count }).await
}

/// A script that fails has run until then.
fn may_have_run(answer: &Value) -> bool {
    let Value::ServerError(error) = answer else { return true };
    matches!(classify(error.code(), error.details()), ErrorClass::Partial(_) | ErrorClass::Lost)
}

/// Keys of one slot are on two nodes for a moment, and nothing ran.
fn is_shortly(value: &Value) -> bool {
    let Value::ServerError(error) = value else { return false };
    matches!(classify(error.code(), error.details()), ErrorClass::Shortly)
}
