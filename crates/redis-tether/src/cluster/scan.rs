//! The cursors of `SCAN`, which know which shard they are at: the upper bits say it, the others are the server's own.

use redis::{Cmd, Value};

use crate::handle::Words;

/// Of a cursor, these bits are the server's own: more than its tables have buckets, the slot that some versions put in included.
const OWN_BITS: u32 = 52;

pub(super) fn shard(cursor: u64) -> usize {
    usize::try_from(cursor >> OWN_BITS).unwrap_or(usize::MAX)
}

/// The cursor and all words of a command that has one.
pub(super) fn parse(cmd: &Cmd) -> Option<(u64, Vec<Vec<u8>>)> {
    let words = Words::of(cmd).sent()?;
    let cursor = std::str::from_utf8(words.get(1)?).ok()?.parse().ok()?;
    Some((cursor, words))
}

/// The command as the server knows it.
pub(super) fn command(words: &[Vec<u8>], cursor: u64) -> Cmd {
    let mut own = Cmd::new();
    for (index, word) in words.iter().enumerate() {
        match index {
            1 => own.arg(cursor & ((1 << OWN_BITS) - 1)),
            _ => own.arg(word),
        };
    }
    own
}

/// Its answer, with the cursor that leads on, at the next shard where this one is through.
pub(super) fn read(reply: Value, shard: usize, shards: usize) -> Result<Value, &'static str> {
    let Value::Array(parts) = reply else { return Ok(reply) };
    let Ok([cursor, keys]) = <[Value; 2]>::try_from(parts) else { return Err("its answer is none of SCAN") };
    let own = match &cursor {
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()),
        _ => None,
    };
    let own = own.filter(|own| own >> OWN_BITS == 0).ok_or("its cursor leaves no room for the shard")?;
    let place = |shard: usize| (shard as u64) << OWN_BITS;
    let next = match own {
        0 if shard + 1 < shards => place(shard + 1),
        0 => 0,
        own => place(shard) | own,
    };
    Ok(self::reply(next, keys))
}

pub(super) fn reply(cursor: u64, keys: Value) -> Value {
    Value::Array(vec![Value::BulkString(cursor.to_string().into_bytes()), keys])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(own: u64, shard: usize) -> Option<u64> {
        let Ok(Value::Array(parts)) = read(reply(own, Value::Array(vec![])), shard, 3) else { return None };
        let Value::BulkString(text) = &parts[0] else { return None };
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    #[test]
    fn cursors_lead_through_every_shard_and_end() {
        let second = next(0, 0).expect("a cursor");
        assert_eq!((shard(second), second != 0), (1, true));
        let inside = next(77, 1).expect("a cursor");
        assert_eq!(shard(inside), 1);
        let mut cmd = redis::cmd("SCAN");
        cmd.cursor_arg(inside).arg("COUNT").arg(5);
        let (cursor, words) = parse(&cmd).expect("a cursor");
        assert_eq!(cursor, inside);
        let own = command(&words, cursor).get_packed_command();
        assert_eq!(own, redis::cmd("SCAN").arg(77).arg("COUNT").arg(5).get_packed_command());
        assert_eq!(next(0, 2), Some(0));
        assert_eq!(next(1 << OWN_BITS, 0), None, "there is no room for it");
    }
}
