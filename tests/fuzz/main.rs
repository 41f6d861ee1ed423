//! The entry points of `fuzz`, without a fuzzer: what is made from their seeds by a few changes,
//! and any bytes.
//!
//! `PROPTEST_CASES=100000 cargo test --test fuzz` takes more of them.

#[path = "../../fuzz/entry_points.rs"]
mod entry_points;

use std::path::Path;

use entry_points::ENTRY_POINTS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// A change to an input: from there on, this many bytes are replaced by these.
type Change = (Index, usize, Vec<u8>);

/// A byte that is likely to mean something: of HTTP, of a frame, of YAML and JSON.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => proptest::sample::select(b"\r\n\t :,;=\"{}[]-\0\x80\x81\xc1\xff".to_vec())]
}

fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), 0_usize..4, vec(byte(), 0..4)), 0..5);
    // In many the first byte says how the others are cut.
    let first = proptest::option::of(any::<u8>());
    let made = (proptest::sample::select(seeds), first, changes).prop_map(|(mut seed, first, changes)| {
        seed.splice(..usize::from(first.is_some()), first);
        changes.into_iter().fold(seed, change)
    });
    prop_oneof![4 => made, 1 => vec(any::<u8>(), 0..200)]
}

fn change(mut input: Vec<u8>, (place, count, bytes): Change) -> Vec<u8> {
    let start = place.index(input.len() + 1);
    input.splice(start..(start + count).min(input.len()), bytes);
    input
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = folder.read_dir().expect("a folder of seeds");
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn no_input_is_too_much_and_no_cut_makes_a_difference() {
    for (name, run) in ENTRY_POINTS {
        let seeds = seeds(name);
        for seed in &seeds {
            run(seed);
        }
        let outcome = TestRunner::default().run(&input(seeds), |input| {
            run(&input);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{name}: {failure}");
        }
    }
}
