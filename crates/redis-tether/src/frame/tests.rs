//! Whatever comes in, and in whatever pieces: the same values as from redis-rs's parser, and nothing that is no value.

use proptest::collection::vec;
use proptest::prelude::*;
use redis::PushKind;

use super::*;

/// The replies in `bytes`, which come in pieces of these sizes, and how much of them is left.
fn read(bytes: &[u8], sizes: &[usize]) -> Result<(Vec<Value>, usize), NotTheProtocol> {
    let (mut frames, mut values, mut buffer, mut rest) = (Frames::default(), Vec::new(), Vec::new(), bytes);
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = later;
        buffer.extend_from_slice(piece);
        while let Some((value, length)) = frames.next(&buffer)? {
            values.push(value);
            buffer.drain(..length);
        }
    }
    Ok((values, buffer.len()))
}

/// A reply in the bytes that servers send.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let line = "[ -~]{0,12}";
    let leaf = prop_oneof![
        Just(b"+OK\r\n".to_vec()),
        line.prop_map(|text| format!("+{text}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        vec(any::<u8>(), 0..40).prop_map(|bytes| blob('$', &bytes)),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
        "(ERR|READONLY|MOVED|EXECABORT|FOO)( [a-z ]{0,9})?".prop_map(|text| format!("-{text}\r\n").into_bytes()),
        any::<i32>().prop_map(|number| format!(",{}\r\n", f64::from(number) / 8.0).into_bytes()),
        any::<bool>().prop_map(|is_true| format!("#{}\r\n", if is_true { 't' } else { 'f' }).into_bytes()),
        "[0-9]{1,30}".prop_map(|digits| format!("({digits}\r\n").into_bytes()),
        "ERR [a-z]{0,9}".prop_map(|text| blob('!', text.as_bytes())),
        "[a-z]{0,9}".prop_map(|text| blob('=', format!("txt:{text}").as_bytes())),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let list = (prop_oneof![Just('*'), Just('~')], vec(inner.clone(), 0..5));
        let pairs = vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            list.prop_map(|(kind, values)| headed(kind, values.len(), values.concat())),
            pairs.clone().prop_map(|pairs| headed('%', pairs.len(), flat(pairs))),
            (pairs, inner.clone()).prop_map(|(pairs, value)| {
                let attributes = headed('|', pairs.len(), flat(pairs));
                [attributes, value].concat()
            }),
            vec(inner, 0..3).prop_map(|values| {
                let kind = blob('$', b"message");
                headed('>', values.len() + 1, [kind, values.concat()].concat())
            }),
        ]
    })
}

fn blob(kind: char, bytes: &[u8]) -> Vec<u8> {
    [format!("{kind}{}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn headed(kind: char, count: usize, rest: Vec<u8>) -> Vec<u8> {
    [format!("{kind}{count}\r\n").into_bytes(), rest].concat()
}

fn flat(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    pairs.into_iter().flat_map(|(key, value)| [key, value].concat()).collect()
}

proptest! {
    #[test]
    fn replies_are_what_redis_rs_reads(replies in vec(reply(), 1..6), sizes in vec(1..20_usize, 0..60)) {
        let expected: Vec<Value> =
            replies.iter().map(|reply| parse_redis_value(reply).expect("a reply")).collect();
        prop_assert_eq!(read(&replies.concat(), &sizes), Ok((expected, 0)));
    }

    /// Half of a reply is none, and neither is anything else that no server says.
    #[test]
    fn what_is_no_reply_is_none(reply in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let at = at.index(reply.len());
        prop_assert_eq!(read(&reply[..at], &[]), Ok((Vec::new(), at)));
        let mut spoilt = reply;
        spoilt[at] = byte;
        if let Ok((values, left)) = read(&spoilt, &[3, 1, 4]) {
            let length = spoilt.len() - left;
            let mut rest = &spoilt[..length];
            for value in values {
                let expected = parse_redis_value(rest);
                prop_assert_eq!(Ok(value), expected);
                let (_, used) = Frames::default().next(rest).expect("a reply").expect("a whole one");
                rest = &rest[used..];
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"+-:$*%~|>!=(,#_\r\n0129"[..])], 0..60)) {
        let _ = read(&bytes, &[]);
    }
}

#[test]
fn hostile_lengths_are_refused_or_waited_for() {
    for bytes in [
        &b"*99999999999999999999\r\n"[..],
        b"%9223372036854775807\r\n",
        b"|-1\r\n",
        b"!-1\r\n",
        b"$9223372036854775807\r\n",
        b"*2\r\n:1\r\nHTTP/1.1 400 Bad Request\r\n",
        b"$3\r\nabcde",
        b":12345678901234567890123456789012345678901234567890123456789012345",
        b":\xff\r\n",
    ] {
        let refused = read(bytes, &[]).is_err();
        let waits = bytes.starts_with(b"$9") || bytes.starts_with(b"%9");
        assert_eq!(refused, !waits, "{}", String::from_utf8_lossy(bytes));
    }
    let waiting = read(b"*1000000000\r\n:1\r\n", &[]);
    assert_eq!(waiting, Ok((Vec::new(), 17)), "nothing is set aside for what does not come");
}

#[test]
fn lists_are_nested_as_deep_as_redis_rs_lets_them_be() {
    for depth in [99, 100, 101, 102] {
        let bytes = ["*1\r\n".repeat(depth), ":1\r\n".to_owned()].concat().into_bytes();
        let expected = parse_redis_value(&bytes).map_err(|_| NotTheProtocol);
        assert_eq!(read(&bytes, &[]).map(|(mut values, _)| values.remove(0)), expected, "{depth}");
    }
}

#[test]
fn what_is_missing_of_a_large_reply_is_known() {
    let mut frames = Frames::default();
    assert_eq!(frames.next(b"*2\r\n$100000\r\nabc"), Ok(None));
    assert_eq!(frames.missing(16), 100_000 + 2 - 3);
}

#[test]
fn pushes_are_told_apart() {
    let (values, _) = read(b">2\r\n+invalidate\r\n_\r\n", &[]).expect("a push");
    assert!(matches!(&values[..], [Value::Push { kind: PushKind::Invalidate, .. }]), "{values:?}");
}
