//! Asking servers a few questions beside any link: over connections that one task owns and that carry nothing else. Sentinels are
//! asked like this, and nodes of a cluster. It decides neither whom to ask nor what to believe.

mod canvass;
pub(crate) mod failed;
mod fan;
mod hearing;
mod line;
mod several;
mod trouble;

pub(crate) use self::canvass::Canvass;
pub(crate) use self::fan::Fan;
pub(crate) use self::hearing::Hearing;
pub(crate) use self::line::Line;
pub(crate) use self::several::Several;
pub(crate) use self::trouble::Trouble;

use redis::Value;

/// The text of a reply that is one.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
