//! Drives sessions through a pair of sidecars and judges what their access logs say.

mod evidence;
mod expect;
mod judge;
mod scenario;
mod template;
