//! Where a command goes: to the shard that has its keys, to all of them, or in pieces to several, and what is made of their
//! answers. The table is redis-rs's, whose own is not public, but for this:
//!
//! - Commands that it sends to every node go to every primary here, since there are links to primaries alone.
//! - What speaks of one node without saying which is refused: `WAIT`, `WAITAOF` and `DEBUG`, which it sends to every primary, and what
//!   changes a node's place in its cluster (`CLUSTER SETSLOT` and its kin), which it sends to the slot's owner or to anybody.
//! - Some commands are newer than its table.
//!
//! Only names and the places of keys are read. Whether a command is well-formed is for a server to say.

use super::Slot;

/// Where a command goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// To the shard that has this slot. Whether all keys of the command are in it, the server says.
    Keyed(Slot),
    /// To any shard: it has no key, and each would answer alike, or for itself.
    Any,
    /// To every shard as it is.
    Every(Merge),
    /// In pieces to the shards that have their keys, of which there are several slots.
    Split(Merge, Vec<Piece>),
    /// `SCAN`: to one shard after the other.
    Scan,
    /// It speaks of one node, and which is not said.
    OfOneNode,
}

/// The part of a command whose keys are in one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The slot.
    pub slot: Slot,
    /// Which arguments follow the name in this piece, counted from 1, the name being 0.
    pub arguments: Vec<usize>,
    /// Where the answers for its keys stand in the whole, counted from 0.
    pub places: Vec<usize>,
}

/// What is made of the answers of several shards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Merge {
    /// The sum of numbers.
    Sum,
    /// All have to succeed, and one of their answers stands for all.
    All,
    /// One has to succeed.
    One,
    /// The first answer that is not empty, or an empty one if all are. One has to succeed.
    FirstFound,
    /// Lists one behind the other.
    Lists,
    /// Lists of answers, each of which goes to the place that its key had.
    Places,
    /// Lists of yes and no, of which each stands if all say yes.
    AllYes,
    /// Pairs of a name and a number, where the numbers of one name are added up.
    Counts,
    /// A table of the answers by the shard's address.
    ByShard,
}

/// How the keys of a command are found.
enum Keys {
    /// At this place, if it is there.
    At(usize),
    /// Behind their number, which is at this place.
    Counted(usize),
    /// Behind the word `STREAMS`.
    Streams,
    /// From the first argument on, each with so many arguments of its own; so many at the end are for all of them.
    All {
        and_arguments: usize,
        for_all: usize,
        merge: Merge,
    },
    /// A slot's number at this place.
    SlotAt(usize),
    Nowhere(Route),
}

/// The longest name of a command with its subcommand that the table has.
const LONGEST: usize = 32;

/// Where the command of these words goes, its name first.
pub fn route<'a, A>(words: A) -> Route
where
    A: Iterator<Item = &'a [u8]> + Clone,
{
    let mut rest = words.clone();
    let Some(name) = rest.next() else { return Route::Any };
    let mut buffer = [0; LONGEST];
    let keys = keys_of(&mut buffer, name, rest.next());
    let at = |place: usize| words.clone().nth(place);
    match keys {
        Keys::At(place) => at(place).map_or(Route::Any, |key| Route::Keyed(Slot::of(key))),
        Keys::Counted(place) => match at(place).and_then(number) {
            Some(0) | None => Route::Any,
            Some(_) => at(place + 1).map_or(Route::Any, |key| Route::Keyed(Slot::of(key))),
        },
        Keys::Streams => {
            let mut behind = words.clone().skip_while(|word| !word.eq_ignore_ascii_case(b"STREAMS")).skip(1);
            behind.next().map_or(Route::Any, |key| Route::Keyed(Slot::of(key)))
        }
        Keys::All { and_arguments, for_all, merge } => split(words, and_arguments, for_all, merge),
        Keys::SlotAt(place) => {
            let slot = at(place).and_then(number).and_then(|number| Slot::new(u16::try_from(number).ok()?));
            slot.map_or(Route::Any, Route::Keyed)
        }
        Keys::Nowhere(route) => route,
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// One piece for each slot, in the order of their first keys.
fn split<'a>(
    words: impl Iterator<Item = &'a [u8]> + Clone,
    and_arguments: usize,
    for_all: usize,
    merge: Merge,
) -> Route {
    let step = 1 + and_arguments;
    let total = words.clone().skip(1).count().saturating_sub(for_all);
    let arguments = words.clone().skip(1).take(total);
    let mut slots = arguments.clone().step_by(step).map(Slot::of);
    let Some(first) = slots.next() else { return Route::Any };
    // A key without its arguments is for the server to refuse, and so is the rest, of which nothing must run.
    if !total.is_multiple_of(step) || slots.all(|slot| slot == first) {
        return Route::Keyed(first);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for (place, key) in arguments.step_by(step).enumerate() {
        let slot = Slot::of(key);
        let index = pieces.iter().position(|piece| piece.slot == slot).unwrap_or_else(|| {
            pieces.push(Piece { slot, arguments: Vec::new(), places: Vec::new() });
            pieces.len() - 1
        });
        let from = 1 + place * step;
        pieces[index].arguments.extend(from..from + step);
        pieces[index].places.push(place);
    }
    pieces.iter_mut().for_each(|piece| piece.arguments.extend(1 + total..=total + for_all));
    Route::Split(merge, pieces)
}

/// In capitals, with the subcommand where the name alone says too little.
fn keys_of(buffer: &mut [u8; LONGEST], name: &[u8], second: Option<&[u8]>) -> Keys {
    let Some(name) = capitals(&mut buffer[..], name) else { return Keys::At(1) };
    let length = name.len();
    if !has_subcommands(name) {
        return by_name(name);
    }
    let Some(second) = second else { return Keys::Nowhere(Route::Any) };
    buffer[length] = b' ';
    let Some(second) = capitals(&mut buffer[length + 1..], second).map(<[u8]>::len) else {
        return Keys::Nowhere(Route::Any);
    };
    by_both(&buffer[..length + 1 + second])
}

fn capitals<'b>(buffer: &'b mut [u8], word: &[u8]) -> Option<&'b [u8]> {
    let place = buffer.get_mut(..word.len())?;
    place.copy_from_slice(word);
    place.make_ascii_uppercase();
    Some(place)
}

fn has_subcommands(name: &[u8]) -> bool {
    matches!(
        name,
        b"XGROUP"
            | b"XINFO"
            | b"OBJECT"
            | b"MEMORY"
            | b"SLOWLOG"
            | b"FUNCTION"
            | b"MODULE"
            | b"COMMAND"
            | b"PUBSUB"
            | b"CONFIG"
            | b"CLIENT"
            | b"ACL"
            | b"SCRIPT"
            | b"CLUSTER"
            | b"LATENCY"
    )
}

fn by_name(name: &[u8]) -> Keys {
    let every = |merge| Keys::Nowhere(Route::Every(merge));
    let all = |and_arguments, for_all, merge| Keys::All { and_arguments, for_all, merge };
    match name {
        b"MGET" => all(0, 0, Merge::Places),
        b"DEL" | b"EXISTS" | b"UNLINK" | b"TOUCH" => all(0, 0, Merge::Sum),
        b"MSET" => all(1, 0, Merge::All),
        b"JSON.MGET" => all(0, 1, Merge::Places),
        b"JSON.MSET" => all(2, 0, Merge::All),
        b"DBSIZE" => every(Merge::Sum),
        b"FLUSHALL" | b"FLUSHDB" | b"PING" | b"UNWATCH" => every(Merge::All),
        b"KEYS" | b"FT._LIST" | b"FT._ALIASLIST" => every(Merge::Lists),
        b"RANDOMKEY" => every(Merge::FirstFound),
        b"INFO" => every(Merge::ByShard),
        b"SCAN" => Keys::Nowhere(Route::Scan),
        b"SHUTDOWN" | b"SLAVEOF" | b"REPLICAOF" | b"FAILOVER" | b"DEBUG" | b"WAIT" | b"WAITAOF" => {
            Keys::Nowhere(Route::OfOneNode)
        }
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" | b"BLMPOP" | b"BZMPOP" => {
            Keys::Counted(2)
        }
        b"LMPOP" | b"ZMPOP" | b"SINTERCARD" | b"ZINTERCARD" | b"ZDIFF" | b"ZINTER" | b"ZUNION" | b"MSETEX" => {
            Keys::Counted(1)
        }
        b"BITOP" | b"PFDEBUG" | b"JSON.DEBUG" => Keys::At(2),
        b"MIGRATE" => Keys::At(3),
        b"XREAD" | b"XREADGROUP" => Keys::Streams,
        b"AUTH" | b"BGSAVE" | b"BGREWRITEAOF" | b"ECHO" | b"HELLO" | b"LASTSAVE" | b"LOLWUT" | b"READONLY"
        | b"READWRITE" | b"ROLE" | b"SAVE" | b"TIME" | b"FT.CREATE" => Keys::Nowhere(Route::Any),
        _ => Keys::At(1),
    }
}

fn by_both(both: &[u8]) -> Keys {
    let every = |merge| Keys::Nowhere(Route::Every(merge));
    match both {
        b"MEMORY USAGE" => Keys::At(2),
        b"SCRIPT EXISTS" => every(Merge::AllYes),
        b"SCRIPT LOAD" | b"SCRIPT FLUSH" | b"FUNCTION DELETE" | b"FUNCTION FLUSH" | b"FUNCTION LOAD"
        | b"FUNCTION RESTORE" | b"CONFIG SET" | b"CONFIG RESETSTAT" | b"CONFIG REWRITE" | b"ACL SETUSER"
        | b"ACL DELUSER" | b"ACL SAVE" | b"ACL LOAD" | b"MEMORY PURGE" | b"SLOWLOG RESET" => every(Merge::All),
        b"SCRIPT KILL" | b"FUNCTION KILL" => every(Merge::One),
        b"SLOWLOG LEN" | b"LATENCY RESET" | b"PUBSUB NUMPAT" => every(Merge::Sum),
        b"SLOWLOG GET" | b"PUBSUB CHANNELS" | b"PUBSUB SHARDCHANNELS" => every(Merge::Lists),
        b"PUBSUB NUMSUB" | b"PUBSUB SHARDNUMSUB" => every(Merge::Counts),
        b"LATENCY GRAPH"
        | b"LATENCY HISTOGRAM"
        | b"LATENCY HISTORY"
        | b"LATENCY DOCTOR"
        | b"LATENCY LATEST"
        | b"FUNCTION STATS"
        | b"MEMORY MALLOC-STATS"
        | b"MEMORY DOCTOR"
        | b"MEMORY STATS" => every(Merge::ByShard),
        b"CLUSTER COUNTKEYSINSLOT" | b"CLUSTER GETKEYSINSLOT" => Keys::SlotAt(2),
        b"CLUSTER ADDSLOTS"
        | b"CLUSTER ADDSLOTSRANGE"
        | b"CLUSTER BUMPEPOCH"
        | b"CLUSTER DELSLOTS"
        | b"CLUSTER DELSLOTSRANGE"
        | b"CLUSTER FAILOVER"
        | b"CLUSTER FLUSHSLOTS"
        | b"CLUSTER FORGET"
        | b"CLUSTER MEET"
        | b"CLUSTER REPLICATE"
        | b"CLUSTER RESET"
        | b"CLUSTER SET-CONFIG-EPOCH"
        | b"CLUSTER SETSLOT" => Keys::Nowhere(Route::OfOneNode),
        both if both.starts_with(b"XGROUP ") || both.starts_with(b"XINFO ") || both.starts_with(b"OBJECT ") => {
            Keys::At(2)
        }
        _ => Keys::Nowhere(Route::Any),
    }
}

#[cfg(test)]
mod tests;
