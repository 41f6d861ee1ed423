//! Drives sessions through a pair of sidecars and judges what their access logs say.
