//! The text that quality is measured on, and how it is cut into chunks.

use std::path::{Path, PathBuf};

/// A corpus beyond this is more than any run reads.
const MAX_BYTES: u64 = 64 << 20;

/// Public-domain prose in several languages, and code; licences in `suites/corpus/README.md`.
const DEFAULT: &str = include_str!("../../suites/corpus/default.txt");

#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error("cannot read corpus `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("corpus `{path}` is larger than {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("corpus `{path}` is not UTF-8 (first bad byte at {at})")]
    Encoding { path: PathBuf, at: usize },
    #[error("the corpus has {found} tokens, one chunk needs {needed}")]
    TooShort { found: usize, needed: usize },
}

/// The corpus that comes with the binary.
pub fn default_corpus() -> &'static str {
    DEFAULT
}

/// Reads a user's corpus: UTF-8 text.
pub fn load_corpus(path: &Path) -> Result<String, CorpusError> {
    let read = |source| CorpusError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
        return Err(CorpusError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(std::fs::read(path).map_err(read)?).map_err(|e| CorpusError::Encoding {
        path: path.to_owned(),
        at: e.utf8_error().valid_up_to(),
    })
}

/// How a corpus is cut: the independent unit of every quality figure is a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Tokens a chunk; the second half is scored, the first is context.
    pub length: usize,
    /// Most chunks to score.
    pub count: usize,
}

impl Chunks {
    pub const DEFAULT: Chunks = Chunks { length: 256, count: 8 };
    pub const QUICK: Chunks = Chunks { length: 128, count: 4 };

    /// Cuts token ids into whole chunks spread evenly over the text; each begins with `bos` where the model wants one.
    pub fn cut(&self, tokens: &[u32], bos: Option<u32>) -> Result<Vec<Vec<u32>>, CorpusError> {
        let body = self.length - usize::from(bos.is_some());
        let available = tokens.len() / body;
        if available == 0 {
            return Err(CorpusError::TooShort { found: tokens.len(), needed: body });
        }
        let count = self.count.min(available);
        Ok((0..count)
            .map(|i| {
                let start = i * available / count * body;
                bos.into_iter().chain(tokens[start..start + body].iter().copied()).collect()
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_spread_over_the_text_and_begin_as_the_model_wants() {
        let tokens: Vec<u32> = (0..1000).collect();
        let chunks = Chunks { length: 100, count: 4 }.cut(&tokens, None).unwrap();
        assert_eq!(chunks.iter().map(|c| c[0]).collect::<Vec<_>>(), [0, 200, 500, 700]);
        assert!(chunks.iter().all(|c| c.len() == 100));
        let with_bos = Chunks { length: 100, count: 4 }.cut(&tokens, Some(7)).unwrap();
        assert!(with_bos.iter().all(|c| c.len() == 100 && c[0] == 7));
    }

    #[test]
    fn a_text_shorter_than_a_chunk_is_refused_with_both_numbers() {
        let error = Chunks::DEFAULT.cut(&[1; 10], None).unwrap_err();
        assert_eq!(error.to_string(), "the corpus has 10 tokens, one chunk needs 256");
    }

    #[test]
    fn the_corpus_that_ships_holds_several_languages_and_code() {
        let text = default_corpus();
        assert!(text.len() > 8_000);
        for piece in ["Four score", "Mancha", "Westphalie", "fn "] {
            assert!(text.contains(piece), "{piece}");
        }
    }
}
