//! From what operators wrote to the snapshot that workers read:
//! source ▸ decode ▸ catalog (validate, keep the last good) ▸ assemble (compile) ▸ publish (swap).

pub mod decode;
pub mod source;
pub mod catalog;
pub mod assemble;
pub mod publish;
pub mod check;
pub mod state_dir;
pub mod geo;
