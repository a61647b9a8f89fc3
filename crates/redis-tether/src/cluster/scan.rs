//! The cursors of `SCAN`, which know which shard they are at: the upper bits have its number, the others are the server's own. Shards
//! are gone through in the order of their numbers, which they keep whatever becomes of their slots; new ones come last.

use redis::{Cmd, Value};

use super::layout::Number;
use crate::handle::Words;

/// Of a cursor, these bits are the server's own: more than its tables have buckets, the slot that some versions put in included.
const OWN_BITS: u32 = 48;

/// The shard that a cursor is at; none at the beginning.
pub(super) fn shard(cursor: u64) -> Option<Number> {
    let number = u32::try_from(cursor >> OWN_BITS).ok()?;
    (cursor > 0).then_some(Number::read(number))
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

/// Its answer, with the cursor that leads on: at the next shard where this one is through.
pub(super) fn read(reply: Value, shard: Number, next: Option<Number>) -> Result<Value, &'static str> {
    let Value::Array(parts) = reply else { return Ok(reply) };
    let Ok([cursor, keys]) = <[Value; 2]>::try_from(parts) else { return Err("its answer is none of SCAN") };
    let own = match &cursor {
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()),
        _ => None,
    };
    let own = own.filter(|own| own >> OWN_BITS == 0).ok_or("its cursor leaves no room for the shard")?;
    let cursor = match (own, next) {
        (0, None) => 0,
        (0, Some(next)) => place(next).ok_or("no cursor has room for the number of the next shard")?,
        (own, _) => own | place(shard).ok_or("no cursor has room for the number of the shard")?,
    };
    Ok(Value::Array(vec![Value::BulkString(cursor.to_string().into_bytes()), keys]))
}

/// The upper bits of its cursors. They have room for the first 65,535 shards of a process.
fn place(shard: Number) -> Option<u64> {
    let number = u64::from(shard.value());
    (number >> (u64::BITS - OWN_BITS) == 0).then_some(number << OWN_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(own: u64, shard: u32, next: Option<u32>) -> Option<u64> {
        let reply = Value::Array(vec![Value::BulkString(own.to_string().into_bytes()), Value::Array(vec![])]);
        let Ok(Value::Array(parts)) = read(reply, Number::read(shard), next.map(Number::read)) else { return None };
        let Value::BulkString(text) = &parts[0] else { return None };
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    #[test]
    fn cursors_lead_through_every_shard_and_end() {
        assert_eq!(shard(0), None);
        let second = next(0, 1, Some(3)).expect("a cursor");
        assert_eq!(shard(second), Some(Number::read(3)));
        let inside = next(77, 3, Some(4)).expect("a cursor");
        assert_eq!(shard(inside), Some(Number::read(3)));
        let mut cmd = redis::cmd("SCAN");
        cmd.cursor_arg(inside).arg("COUNT").arg(5);
        let (cursor, words) = parse(&cmd).expect("a cursor");
        assert_eq!(cursor, inside);
        let own = command(&words, cursor).get_packed_command();
        assert_eq!(own, redis::cmd("SCAN").arg(77).arg("COUNT").arg(5).get_packed_command());
        assert_eq!(next(0, 4, None), Some(0));
    }

    #[test]
    fn what_there_is_no_room_for_is_an_error() {
        assert_eq!(next(1 << OWN_BITS, 1, None), None);
        assert!(next(77, 65_535, None).is_some() && next(77, 65_536, None).is_none());
    }
}
