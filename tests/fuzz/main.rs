//! The entry points of `fuzz`, without a fuzzer: what is made from their seeds by a few changes, and any bytes.
//!
//! `PROPTEST_CASES=100000 cargo test --test fuzz` takes more of them.

#[path = "../../fuzz/entry_points.rs"]
mod entry_points;

use entry_points::ENTRY_POINTS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A change to an input: from there on, this many bytes are replaced by these.
type Change = (Index, usize, Vec<u8>);

/// A byte that is likely to mean something: of HTTP, of a frame, of YAML and JSON.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => proptest::sample::select(b"\r\n\t :,;=\"{}[]-\0\x80\x81\xc1\xff".to_vec())]
}

fn input(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), 0_usize..4, vec(byte(), 0..4)), 0..5);
    let made = (any::<u8>(), proptest::sample::select(seeds), changes).prop_map(|(how, seed, changes)| {
        let mut input = changes.into_iter().fold(seed.to_vec(), change);
        // The first byte says how the others are cut.
        if let Some(first) = input.first_mut() {
            *first = *first & 3 | how & !3;
        }
        input
    });
    prop_oneof![4 => made, 1 => vec(any::<u8>(), 0..200)]
}

fn change(mut input: Vec<u8>, (place, count, bytes): Change) -> Vec<u8> {
    let start = place.index(input.len() + 1);
    input.splice(start..(start + count).min(input.len()), bytes);
    input
}

#[test]
fn no_input_is_too_much_and_no_cut_makes_a_difference() {
    for entry_point in ENTRY_POINTS {
        for seed in entry_point.seeds {
            (entry_point.run)(seed);
        }
        let mut runner = proptest::test_runner::TestRunner::default();
        let outcome = runner.run(&input(entry_point.seeds), |input| {
            (entry_point.run)(&input);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{}: {failure}", entry_point.name);
        }
    }
}
