//! How close a variant's predictions are to the reference's: same text, same token ids, teacher-forced.
//!
//! Pure: `worker` runs the engines, this scores their logits.

mod agreement;
mod corpus;
mod reference;
mod score;

pub use agreement::{Pair, agreement};
pub use corpus::{Chunks, CorpusError, default_corpus, load_corpus};
pub use reference::{Reference, ReferenceError, ReferenceWriter};
pub use score::{ChunkScore, Position, TOP_K, compare, describe};
