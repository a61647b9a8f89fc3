//! The table, by example; and that what is taken apart can be put together again.

use proptest::prelude::*;

use super::*;

fn of(words: &[&str]) -> Route {
    route(words.iter().map(|word| word.as_bytes()))
}

fn keyed(key: &str) -> Route {
    Route::Keyed(Slot::of(key.as_bytes()))
}

#[test]
fn keys_are_found_where_they_stand() {
    let cases: [(&[&str], &str); 14] = [
        (&["get", "k"], "k"),
        (&["EVAL", "return 1", "2", "k", "other", "arg"], "k"),
        (&["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "k", ">"], "k"),
        (&["xread", "streams", "k", "0"], "k"),
        (&["ZINTER", "2", "k", "other"], "k"),
        (&["MSETEX", "2", "k", "1", "other", "2", "EX", "9"], "k"),
        (&["BLMPOP", "0.5", "1", "k", "LEFT"], "k"),
        (&["BITOP", "AND", "k", "other"], "k"),
        (&["OBJECT", "ENCODING", "k"], "k"),
        (&["XGROUP", "CREATE", "k", "g", "$"], "k"),
        (&["memory", "usage", "k"], "k"),
        (&["MIGRATE", "10.0.0.1", "6379", "k", "0", "5000"], "k"),
        (&["MGET", "k"], "k"),
        (&["a-name-that-is-longer-than-any-that-the-table-has", "k"], "k"),
    ];
    for (words, key) in cases {
        assert_eq!(of(words), keyed(key), "{words:?}");
    }
    assert_eq!(of(&["CLUSTER", "COUNTKEYSINSLOT", "7"]), Route::Keyed(Slot::new(7).expect("a slot")));
}

#[test]
fn what_has_no_key_goes_to_any_or_to_all() {
    for words in [&["TIME"][..], &["EVAL", "return 1", "0"], &["CLUSTER", "INFO"], &["GET"], &["CONFIG"], &[]] {
        assert_eq!(of(words), Route::Any, "{words:?}");
    }
    for (words, merge) in [
        (&["DBSIZE"][..], Merge::Sum),
        (&["KEYS", "*"], Merge::Lists),
        (&["flushall"], Merge::All),
        (&["PING"], Merge::All),
        (&["SCRIPT", "LOAD", "return 1"], Merge::All),
        (&["script", "exists", "abc"], Merge::AllYes),
        (&["RANDOMKEY"], Merge::FirstFound),
    ] {
        assert_eq!(of(words), Route::Every(merge), "{words:?}");
    }
    assert_eq!(of(&["SCAN", "0"]), Route::Scan);
    assert_eq!(of(&["FT._LIST"]), Route::Every(Merge::Lists));
    assert_eq!(of(&["FT.CREATE", "an index is no key"]), Route::Any);
    for words in [&["REPLICAOF", "NO", "ONE"][..], &["CLUSTER", "RESET"], &["cluster", "setslot", "7", "STABLE"]] {
        assert_eq!(of(words), Route::OfOneNode, "{words:?}");
    }
}

#[test]
fn pairs_stay_together() {
    let Route::Split(Merge::All, pieces) = of(&["MSET", "{a}1", "x", "b", "y", "{a}2", "z"]) else {
        panic!("two slots");
    };
    assert_eq!(pieces.len(), 2);
    assert_eq!((&*pieces[0].arguments, &*pieces[0].places), (&[1, 2, 5, 6][..], &[0, 2][..]));
    assert_eq!((&*pieces[1].arguments, &*pieces[1].places), (&[3, 4][..], &[1][..]));
}

#[test]
fn what_is_at_the_end_goes_with_each_piece() {
    let Route::Split(Merge::Places, pieces) = of(&["JSON.MGET", "a", "b", "{a}2", "$.path"]) else {
        panic!("two slots");
    };
    assert_eq!((&*pieces[0].arguments, &*pieces[0].places), (&[1, 3, 4][..], &[0, 2][..]));
    assert_eq!((&*pieces[1].arguments, &*pieces[1].places), (&[2, 4][..], &[1][..]));
    assert_eq!(of(&["JSON.MGET", "a", "{a}2", "$.path"]), keyed("a"));
    assert_eq!(of(&["JSON.MGET", "$.path"]), Route::Any);
    let Route::Split(Merge::All, pieces) = of(&["JSON.MSET", "a", "$", "1", "b", "$", "2"]) else {
        panic!("two slots");
    };
    assert_eq!((&*pieces[0].arguments, &*pieces[1].arguments), (&[1, 2, 3][..], &[4, 5, 6][..]));
}

/// Nothing of it must run.
#[test]
fn a_pair_without_its_value_is_left_whole() {
    assert_eq!(of(&["MSET", "a", "x", "b"]), keyed("a"));
}

proptest! {
    #[test]
    fn every_argument_is_in_one_piece_and_every_key_in_the_piece_of_its_slot(
        keys in prop::collection::vec("[a-z{}]{0,4}", 1..20),
        name in prop::sample::select(vec![("MGET", 1), ("DEL", 1), ("MSET", 2)]),
    ) {
        let (name, step) = name;
        let mut words = vec![name.to_owned()];
        for key in &keys {
            words.push(key.clone());
            words.extend((1..step).map(|_| "value".to_owned()));
        }
        match route(words.iter().map(String::as_bytes)) {
            Route::Keyed(slot) => prop_assert!(keys.iter().all(|key| Slot::of(key.as_bytes()) == slot)),
            Route::Split(_, pieces) => {
                let mut arguments: Vec<_> = pieces.iter().flat_map(|piece| piece.arguments.clone()).collect();
                arguments.sort_unstable();
                prop_assert_eq!(arguments, (1..words.len()).collect::<Vec<_>>());
                let mut places: Vec<_> = pieces.iter().flat_map(|piece| piece.places.clone()).collect();
                places.sort_unstable();
                prop_assert_eq!(places, (0..keys.len()).collect::<Vec<_>>());
                for piece in &pieces {
                    prop_assert!(piece.places.is_sorted(), "the order of one slot is kept");
                    for (place, argument) in piece.places.iter().zip(piece.arguments.iter().step_by(step)) {
                        prop_assert_eq!(&words[*argument], &keys[*place]);
                        prop_assert_eq!(Slot::of(keys[*place].as_bytes()), piece.slot);
                    }
                }
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
