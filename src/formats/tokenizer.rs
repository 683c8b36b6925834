//! Text to token ids with the tokenizer a GGUF carries, or a `tokenizer.json`. The only home of `tokenizers`.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;
use tokenizers::{PreTokenizerWrapper, Tokenizer as Inner, TruncationParams};

use super::FormatError;
use super::gguf::Gguf;

/// More tokens than any vocabulary has.
const MAX_VOCABULARY: u64 = 2_000_000;

/// How GPT-2 cuts text before merging, and those that followed it (`tokenizer.ggml.pre`).
/// Source: the patterns of the models' own `tokenizer.json` files.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Patterns applied one after another, by pre-tokenizer key.
const PRE_TOKENIZERS: &[(&[&str], &[&str])] = &[
    (&["gpt-2", "gpt2", "default"], &[GPT2]),
    (&["smollm"], &[r"\p{N}", GPT2]),
    (&["llama-bpe", "llama3", "llama-v3", "smaug-bpe"], &[LLAMA3]),
    (&["qwen2", "deepseek-r1-qwen"], &[QWEN2]),
];

/// A model's own tokenizer.
pub struct Tokenizer {
    inner: Inner,
    /// Set where the model wants a beginning-of-text token.
    bos: Option<u32>,
}

/// A `tokenizer.json` of a large vocabulary takes some 20 MB.
const MAX_FILE: u64 = 128 << 20;

impl Tokenizer {
    /// Builds the tokenizer that `gguf` describes: byte-level BPE with a known pre-tokenizer.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, FormatError> {
        let path = &gguf.parts[0].path;
        let unsupported = |why: String| FormatError::unsupported(path, why);
        let kind = gguf.str("tokenizer.ggml.model").unwrap_or("none");
        if kind != "gpt2" {
            return Err(unsupported(format!(
                "tokenizer kind `{kind}`: only byte-level BPE is read"
            )));
        }
        let pre = gguf.str("tokenizer.ggml.pre").unwrap_or("default");
        let (_, patterns) = PRE_TOKENIZERS
            .iter()
            .find(|(keys, _)| keys.contains(&pre))
            .ok_or_else(|| unsupported(format!("pre-tokenizer `{pre}`")))?;
        let strings = |key: &str| {
            gguf.strings(key, MAX_VOCABULARY)?
                .ok_or_else(|| FormatError::damaged(path, format!("`{key}` is missing")))
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let tokens = strings("tokenizer.ggml.tokens")?;
        let vocabulary: HashMap<String, u32> =
            tokens.iter().enumerate().map(|(i, t)| (text(t), i as u32)).collect();
        let merges: Vec<(String, String)> = strings("tokenizer.ggml.merges")?
            .iter()
            .filter_map(|m| text(m).split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
            .collect();
        // A merge of tokens that the vocabulary lacks is an error here; `BPE::new` would panic.
        let bpe =
            BPE::builder().vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges);
        let bpe = bpe.build().map_err(|e| FormatError::damaged(path, e.to_string()))?;
        let mut inner = Inner::new(bpe);
        inner.with_pre_tokenizer(Some(pre_tokenizer(patterns).map_err(unsupported)?));
        let wants_bos = gguf.get("tokenizer.ggml.add_bos_token").and_then(|v| v.as_bool());
        let bos = gguf.u64("tokenizer.ggml.bos_token_id").and_then(|id| u32::try_from(id).ok());
        Ok(Self { inner, bos: bos.filter(|_| wants_bos == Some(true)) })
    }

    /// Reads a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self, FormatError> {
        let read = |e| FormatError::read(path, e);
        if std::fs::metadata(path).map_err(read)?.len() > MAX_FILE {
            return Err(FormatError::damaged(path, format!("more than {MAX_FILE} bytes")));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        let inner = Inner::from_bytes(bytes);
        let mut inner = inner.map_err(|e| FormatError::damaged(path, e.to_string()))?;
        inner.with_padding(None);
        Ok(Self { inner, bos: None })
    }

    /// Token ids with the model's special tokens around them, cut to `length`.
    pub fn encode_framed(&self, text: &str, length: usize) -> Result<Vec<u32>, String> {
        let mut inner = self.inner.clone();
        let cut = TruncationParams { max_length: length, ..TruncationParams::default() };
        inner.with_truncation(Some(cut)).map_err(|e| e.to_string())?;
        let encoding = inner.encode(text, true).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token that fills a row up; 0 where none is named.
    pub fn padding(&self) -> u32 {
        let names = ["[PAD]", "<pad>", "<|pad|>"];
        names.iter().find_map(|name| self.inner.token_to_id(name)).unwrap_or(0)
    }

    /// Token ids of a text, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.inner.encode(text, false).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn bos(&self) -> Option<u32> {
        self.bos
    }
}

fn pre_tokenizer(patterns: &[&str]) -> Result<PreTokenizerWrapper, String> {
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, Isolated, false).map_err(|e| e.to_string())?;
        steps.push(split.into());
    }
    // Maps bytes to the printable alphabet of the vocabulary; the cutting is done above.
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(patterns: &[&str], vocabulary: &[&str], merges: &[(&str, &str)]) -> Tokenizer {
        let vocabulary: HashMap<String, u32> =
            vocabulary.iter().enumerate().map(|(i, t)| ((*t).to_owned(), i as u32)).collect();
        let merges = merges.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let mut inner = Inner::new(BPE::new(vocabulary.into_iter().collect(), merges));
        inner.with_pre_tokenizer(Some(pre_tokenizer(patterns).unwrap()));
        Tokenizer { inner, bos: None }
    }

    #[test]
    fn words_merge_within_what_the_pattern_cuts_and_never_across() {
        let vocabulary = ["a", "b", "Ġ", "1", "2", "ab", "Ġa", "Ġab", "12"];
        let merges = [("a", "b"), ("Ġ", "ab"), ("1", "2")];
        let gpt2 = tokenizer(&[GPT2], &vocabulary, &merges);
        assert_eq!(gpt2.encode("ab ab12").unwrap(), [5, 7, 8]);
        // SmolLM cuts each digit off.
        let smollm = tokenizer(&[r"\p{N}", GPT2], &vocabulary, &merges);
        assert_eq!(smollm.encode("ab ab12").unwrap(), [5, 7, 3, 4]);
    }
}
