//! Balancing: the vectors of its specification, and what must hold for all weights, loads and times.

mod random;

mod evidence;
mod learned;
mod pick;
mod ring;
mod schedule;
