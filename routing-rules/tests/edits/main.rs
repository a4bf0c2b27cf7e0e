//! What an edit of a release, or another percent, does to its users: what is foretold of them, and what is certain.

mod crowd;

mod guard;
mod preview;
