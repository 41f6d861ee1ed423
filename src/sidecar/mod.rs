//! One proxy of the pair.
