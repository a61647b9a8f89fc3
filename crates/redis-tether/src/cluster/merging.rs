//! What is made of the answers of several shards, as redis-rs makes it. An answer that is not what the command should have is an
//! error and no guess.

use std::collections::BTreeMap;

use redis::{ErrorKind, RedisError, RedisResult, Value};
use redis_tether_core::cluster::Merge;

/// Puts the answers together. `places` says of each where its parts belong, for [`Merge::Places`]; `names` who gave it, for
/// [`Merge::ByShard`]. None of them is an error, but where [one will do](needs_all).
pub(super) fn merge(how: Merge, answers: Vec<Value>, places: &[&[usize]], names: &[String]) -> RedisResult<Value> {
    match how {
        Merge::Sum => numbers(answers)?.into_iter().try_fold(0i64, i64::checked_add).map(Value::Int).ok_or_else(odd),
        Merge::All => answers.into_iter().next().ok_or_else(odd),
        Merge::One => one(answers),
        Merge::FirstFound => Ok(first_found(answers)),
        Merge::Lists => Ok(Value::Array(lists(answers)?.into_iter().flatten().collect())),
        Merge::Places => into_places(lists(answers)?, places),
        Merge::AllYes => all_yes(lists(answers)?),
        Merge::Counts => counts(answers),
        Merge::ByShard => {
            let names = names.iter().map(|name| Value::BulkString(name.clone().into_bytes()));
            Ok(Value::Map(names.zip(answers).collect()))
        }
        _ => Err(odd()),
    }
}

/// Whether there is no answer where one shard gives none.
pub(super) fn needs_all(how: Merge) -> bool {
    !matches!(how, Merge::One | Merge::FirstFound)
}

fn odd() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "the answers of the shards do not fit together"))
}

fn numbers(answers: Vec<Value>) -> RedisResult<Vec<i64>> {
    let number = |answer| match answer {
        Value::Int(number) => Ok(number),
        _ => Err(odd()),
    };
    answers.into_iter().map(number).collect()
}

fn lists(answers: Vec<Value>) -> RedisResult<Vec<Vec<Value>>> {
    let list = |answer| match answer {
        Value::Array(list) | Value::Set(list) => Ok(list),
        _ => Err(odd()),
    };
    answers.into_iter().map(list).collect()
}

fn one(mut answers: Vec<Value>) -> RedisResult<Value> {
    let good = answers.iter().position(|answer| !matches!(answer, Value::ServerError(_)));
    if answers.is_empty() { Err(odd()) } else { Ok(answers.swap_remove(good.unwrap_or_default())) }
}

/// Where nothing was found, not all may have been asked.
fn first_found(mut answers: Vec<Value>) -> Value {
    let is_found = |answer: &Value| !matches!(answer, Value::Nil | Value::ServerError(_));
    let is_more = |answer: &Value| !matches!(answer, Value::Nil);
    let told = answers.iter().position(is_found).or_else(|| answers.iter().position(is_more));
    told.map_or(Value::Nil, |told| answers.swap_remove(told))
}

fn into_places(lists: Vec<Vec<Value>>, places: &[&[usize]]) -> RedisResult<Value> {
    let total = places.iter().map(|places| places.len()).sum();
    let mut whole = vec![Value::Nil; total];
    for (list, places) in lists.into_iter().zip(places) {
        if list.len() != places.len() {
            return Err(odd());
        }
        for (value, place) in list.into_iter().zip(*places) {
            *whole.get_mut(*place).ok_or_else(odd)? = value;
        }
    }
    Ok(Value::Array(whole))
}

fn all_yes(lists: Vec<Vec<Value>>) -> RedisResult<Value> {
    let mut together: Option<Vec<bool>> = None;
    for list in lists {
        let says_yes: Vec<bool> = numbers_or_flags(list)?;
        together = Some(match together {
            None => says_yes,
            Some(before) if before.len() == says_yes.len() => {
                before.into_iter().zip(says_yes).map(|(one, other)| one && other).collect()
            }
            Some(_) => return Err(odd()),
        });
    }
    let flags = together.ok_or_else(odd)?;
    Ok(Value::Array(flags.into_iter().map(|flag| Value::Int(i64::from(flag))).collect()))
}

fn numbers_or_flags(list: Vec<Value>) -> RedisResult<Vec<bool>> {
    let flag = |value| match value {
        Value::Int(number) => Ok(number > 0),
        Value::Boolean(flag) => Ok(flag),
        _ => Err(odd()),
    };
    list.into_iter().map(flag).collect()
}

fn counts(answers: Vec<Value>) -> RedisResult<Value> {
    let mut sums: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    let mut add = |name: Value, number: Value| match (name, number) {
        (Value::BulkString(name), Value::Int(number)) => {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(number);
            Ok(())
        }
        _ => Err(odd()),
    };
    for answer in answers {
        match answer {
            Value::Map(pairs) => pairs.into_iter().try_for_each(|(name, number)| add(name, number))?,
            Value::Array(flat) if flat.len().is_multiple_of(2) => {
                let mut flat = flat.into_iter();
                while let (Some(name), Some(number)) = (flat.next(), flat.next()) {
                    add(name, number)?;
                }
            }
            _ => return Err(odd()),
        }
    }
    Ok(Value::Map(sums.into_iter().map(|(name, sum)| (Value::BulkString(name), Value::Int(sum))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().copied().map(Value::Int).collect())
    }

    fn merged(how: Merge, answers: Vec<Value>) -> Option<Value> {
        merge(how, answers, &[], &["a".to_owned(), "b".to_owned()]).ok()
    }

    #[test]
    fn each_way_of_merging() {
        let numbers = || vec![Value::Int(3), Value::Int(2)];
        assert_eq!(merged(Merge::Sum, numbers()), Some(Value::Int(5)));
        assert_eq!(merged(Merge::All, vec![Value::Okay, Value::Okay]), Some(Value::Okay));
        assert_eq!(merged(Merge::FirstFound, vec![Value::Nil, Value::Int(1)]), Some(Value::Int(1)));
        assert_eq!(merged(Merge::FirstFound, vec![Value::Nil, Value::Nil]), Some(Value::Nil));
        let refused = redis::parse_redis_value(b"-NOPERM no\r\n").expect("a refusal");
        let some = vec![refused.clone(), Value::Nil, Value::Int(1)];
        assert_eq!(merged(Merge::FirstFound, some), Some(Value::Int(1)));
        assert_eq!(merged(Merge::FirstFound, vec![Value::Nil, refused.clone()]), Some(refused));
        assert_eq!(merged(Merge::Lists, vec![list(&[1, 2]), list(&[3])]), Some(list(&[1, 2, 3])));
        assert_eq!(merged(Merge::AllYes, vec![list(&[1, 1]), list(&[1, 0])]), Some(list(&[1, 0])));
        let name = || Value::BulkString(b"c".to_vec());
        let pairs = vec![Value::Array(vec![name(), Value::Int(1)]), Value::Map(vec![(name(), Value::Int(2))])];
        assert_eq!(merged(Merge::Counts, pairs), Some(Value::Map(vec![(name(), Value::Int(3))])));
    }

    #[test]
    fn answers_come_to_the_places_of_their_keys() {
        let places: [&[usize]; 2] = [&[0, 3], &[1, 2]];
        let whole = merge(Merge::Places, vec![list(&[10, 13]), list(&[11, 12])], &places, &[]).expect("they fit");
        assert_eq!(whole, list(&[10, 11, 12, 13]));
        assert!(merge(Merge::Places, vec![list(&[10]), list(&[11, 12])], &places, &[]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_no_answer() {
        for (how, answers) in [
            (Merge::Sum, vec![Value::Okay]),
            (Merge::Sum, vec![Value::Int(i64::MAX), Value::Int(1)]),
            (Merge::Lists, vec![Value::Int(1)]),
            (Merge::AllYes, vec![list(&[1]), list(&[1, 1])]),
            (Merge::Counts, vec![Value::Array(vec![Value::Int(1)])]),
        ] {
            assert_eq!(merged(how, answers), None, "{how:?}");
        }
    }
}
